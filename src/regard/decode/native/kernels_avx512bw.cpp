// AVX-512 without VNNI (Skylake servers and their contemporaries): the byte product of AVX2, on 512 bits.

#include "simd.h"

#if defined(REGARD_X86)

namespace regard {
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#endif
namespace {

#include "vectors_512.h"

constexpr int ROWS = 6;
constexpr uint8_t WEIGHT_OFFSET = 0;
constexpr bool UNSIGNED_INPUTS = true;

ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) {
    const Ints ones = _mm512_set1_epi16(1);
#if defined(__GNUC__)  // GCC 12 keeps so many products waiting that the sums go to memory
    Ints pairs;
    asm("vpmaddubsw %2, %3, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
        : "+v"(sum), "=&v"(pairs)
        : "v"(w), "v"(four), "v"(ones));
#else
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(four, w), ones));
#endif
}

#include "kernels_impl.h"

constexpr Kernels KERNELS = table("avx512bw");

}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

const Kernels* avx512bw_kernels() { return &KERNELS; }

}  // namespace regard

#else

namespace regard {
const Kernels* avx512bw_kernels() { return nullptr; }
}  // namespace regard

#endif

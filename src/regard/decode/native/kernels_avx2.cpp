// AVX2 with FMA: any x86 processor of the last ten years.
//
// Its byte product takes unsigned times signed and adds pairs in 16 bits, saturating. So inputs are rounded to 0 to 127: a
// pair is at most 2·127·127 = 32,258 and never saturates. That is a bit less than -127 to 127 have, but for what comes
// out of a ReLU, which has no negative half.

#include "simd.h"

#ifdef REGARD_X86

namespace regard {
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace {

#include "vectors_256.h"

constexpr int ROWS = 4;
constexpr uint8_t WEIGHT_OFFSET = 0;
constexpr bool UNSIGNED_INPUTS = true;

ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) {
    const Ints ones = _mm256_set1_epi16(1);
#if defined(__GNUC__)  // GCC 12 keeps so many products waiting that the sums go to memory
    Ints pairs;
    asm("vpmaddubsw %2, %3, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(pairs)
        : "x"(w), "x"(four), "x"(ones));
#else
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(four, w), ones));
#endif
}

#include "kernels_impl.h"

constexpr Kernels KERNELS = table("avx2");

}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

const Kernels* avx2_kernels() { return &KERNELS; }

}  // namespace regard

#else

namespace regard {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace regard

#endif

// AVX-512 with VNNI: as AVX-VNNI, on 512 bits and with 32 registers.

#include "simd.h"

#if defined(REGARD_X86)

namespace regard {
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
namespace {

#include "vectors_512.h"

constexpr int ROWS = 6;
constexpr uint8_t WEIGHT_OFFSET = 128;
constexpr bool UNSIGNED_INPUTS = false;

ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) {
#if defined(__GNUC__)  // GCC 12 moves the sums of the intrinsic between registers
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(four));
#else
    sum = _mm512_dpbusd_epi32(sum, w, four);
#endif
}

#include "kernels_impl.h"

constexpr Kernels KERNELS = table("avx512");

}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

const Kernels* avx512_kernels() { return &KERNELS; }

}  // namespace regard

#else

namespace regard {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace regard

#endif

// AVX2 with FMA: any x86 processor of the last ten years.
//
// Its byte product takes unsigned times signed and adds pairs in 16 bits, saturating. Moving the sign of the weight to
// the activation makes the first factor at most 127, so that a pair is at most 2·127·127 = 32,258 and never saturates.

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

ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) {
    const Ints pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four, w));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
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

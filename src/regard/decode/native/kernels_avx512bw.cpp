// AVX-512 without VNNI (Skylake servers and their contemporaries): the byte product of AVX2, on 512 bits.
//
// There is no sign instruction of this width. What is negative in the weights is a mask, found once for all rows of a
// tile, and a masked subtraction turns the activations.

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

constexpr int ROWS = 5;
constexpr uint8_t WEIGHT_OFFSET = 0;

ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) {
    const Ints turned = _mm512_mask_sub_epi8(four, _mm512_movepi8_mask(w), _mm512_setzero_si512(), four);
    const Ints pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(w), turned);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
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

// AVX-VNNI: one instruction multiplies four unsigned by four signed bytes and adds them to a lane, on 256 bits.
// The weights are stored plus 128, as unsigned bytes; 128 times the sum of the row is taken off at the end.

#include "simd.h"

#if defined(REGARD_X86) && (defined(_MSC_VER) || (defined(__clang__) && __clang_major__ >= 12) || __GNUC__ >= 11)

namespace regard {
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,avxvnni")
#endif
namespace {

#include "vectors_256.h"

constexpr int ROWS = 6;
constexpr uint8_t WEIGHT_OFFSET = 128;
constexpr bool UNSIGNED_INPUTS = false;

ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) { sum = _mm256_dpbusd_avx_epi32(sum, w, four); }

#include "kernels_impl.h"

constexpr Kernels KERNELS = table("avxvnni");

}  // namespace
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

const Kernels* avxvnni_kernels() { return &KERNELS; }

}  // namespace regard

#else

namespace regard {
const Kernels* avxvnni_kernels() { return nullptr; }
}  // namespace regard

#endif

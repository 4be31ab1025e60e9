// The kernels on bfloat16 for processors that do not multiply it: words are floats, widened as rows are copied into the
// cache.

#include "training.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")

namespace regard {
namespace {

#include "vectors.h"

// To the nearest, to even between two; NaN stays one.
inline __m256i rounded(Floats x) {
    const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(up, nan, quiet), 16));
}

#include "bfloat16.h"

using Stored = bfloat16;

#include "float_words.h"

#include "tiles.h"
#include "attention.h"
#include "rows.h"

constexpr TrainingKernels<bfloat16> KERNELS{
    attention_forward, attention_backward, layer_norm_forward, layer_norm_backward, cross_entropy_gradient,
};

}  // namespace

#pragma GCC pop_options

const TrainingKernels<bfloat16>& widened_kernels() { return KERNELS; }

}  // namespace regard

#endif

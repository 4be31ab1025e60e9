// The kernels on bfloat16: words are pairs, multiplied by vdpbf16ps.

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
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

namespace regard {
namespace {

#include "vectors.h"

inline __m256i rounded(Floats x) { return (__m256i)_mm512_cvtneps_pbh(x); }

#include "bfloat16.h"

using Stored = bfloat16;
using Number = bfloat16;

inline Floats multiply_add(Floats left, Floats right, Floats sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)left, (__m512bh)right);
}

// Words of two numbers, each pair from the same lane.
inline Floats join(const Floats (&pair)[2]) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(pair[1], pair[0])));
}

#include "tiles.h"

// Rows that lie one after the other, count×width with an even count, to words that are neighbours in a column:
// count/2×width.
inline void pair_rows(const Word* from, int64_t count, int64_t width, Word* to) {
    const auto* rows = reinterpret_cast<const __m256i*>(from);  // of 16 numbers
    for (int64_t i = 0; i < count; i += 2) {
        const __m256i *even = rows + i * width / LANES, *odd = even + width / LANES;
        for (int64_t c = 0; c < width; c += LANES) {
            const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(odd++)), 16);
            const __m512i pair = _mm512_or_si512(_mm512_cvtepu16_epi32(_mm256_loadu_si256(even++)), upper);
            _mm512_storeu_si512(to + i / 2 * width + c, pair);
        }
    }
}

#include "attention.h"
#include "rows.h"

constexpr TrainingKernels<bfloat16> KERNELS{
    attention_forward, attention_backward, layer_norm_forward, layer_norm_backward, cross_entropy_gradient,
};

}  // namespace

#pragma GCC pop_options

const TrainingKernels<bfloat16>& bfloat16_kernels() { return KERNELS; }

}  // namespace regard

#endif

// The kernels on floats: words are single numbers.

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

using Stored = float;
using Number = float;

inline Floats multiply_add(Floats left, Floats right, Floats sum) { return _mm512_fmadd_ps(left, right, sum); }

inline Floats join(const Floats (&pair)[2]) { return pair[0]; }

inline float to_float(float x) { return x; }

#include "tiles.h"

inline void pair_rows(const Word* from, int64_t count, int64_t width, Word* to) {
    std::memcpy(to, from, size_t(count * width) * sizeof(Word));
}

#include "attention.h"
#include "rows.h"

constexpr TrainingKernels<float> KERNELS{attention_forward, attention_backward, layer_norm_forward, layer_norm_backward,
                                     cross_entropy_gradient};

}  // namespace

#pragma GCC pop_options

const TrainingKernels<float>& float_kernels() { return KERNELS; }

}  // namespace regard

#endif

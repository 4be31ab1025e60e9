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

#include "float_words.h"

inline float to_float(float x) { return x; }

#include "tiles.h"
#include "attention.h"
#include "rows.h"

constexpr TrainingKernels<float> KERNELS{
    attention_forward, attention_backward, layer_norm_forward, layer_norm_backward, cross_entropy_gradient,
};

}  // namespace

#pragma GCC pop_options

const TrainingKernels<float>& float_kernels() { return KERNELS; }

}  // namespace regard

#endif

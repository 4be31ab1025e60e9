// Training kernels for processors with AVX-512: what PyTorch runs element by element, row by row or with copies in
// between, in one pass. Matrix products with weights stay with PyTorch, where they run near the machine's peak.
//
// Tensors are PyTorch's own memory, given as pointers and strides in elements.

#pragma once

#if defined(__GNUC__) && !defined(__clang__)  // GCC 12's own header starts vectors from themselves (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <cstddef>
#include <cstdint>

namespace regard {

using bfloat16 = uint16_t;  // the upper half of a float

// A B×H×rows×width tensor whose last dimension is contiguous.
template <class Number>
struct Heads {
    Number* data;
    ptrdiff_t batch, head, row;  // strides

    Number* at(int64_t b, int64_t h, int64_t r) const { return data + b * batch + h * head + r * row; }
};

// Who may attend to whom: query t of row b to the keys from starts[t] up to before stops[t], and of these, if there is
// a table, to those where it is not 0.
struct Allowed {
    const int32_t *starts, *stops;  // (B or 1)×T
    ptrdiff_t run_batch;            // stride from one row of the batch to the next, 0 for what all share
    const uint8_t* table;           // (B or 1)×S×T, or null
    ptrdiff_t table_batch;
};

// H heads of queries; each of the G heads of keys and values serves H / G of them.
struct AttentionSizes {
    int64_t batch, heads, groups, queries, keys, key_width, value_width;
    float scale;
    int threads;
};

// What there is for tensors of one type; sums are floats. Widths are multiples of 32.
template <class Stored>
struct TrainingKernels {
    // softmax(scale · Q Kᵀ + added) V; a query that may attend to nothing gets zeros.
    // added: null, or H×(T+S-1) numbers by distance, that of the first query to the last key first.
    // statistics: B×H×2×T, the highest score of each query and 1 / Σ exp(score - highest), for the gradient.
    void (*attention_forward)(const AttentionSizes&, const Heads<Stored>& query, const Heads<Stored>& key,
                              const Heads<Stored>& value, const Allowed&, const float* added,
                              const Heads<Stored>& output, float* statistics);

    // The gradients with respect to query, key and value, and, where `added_gradient` is not null, to `added`: it must
    // begin as zeros. The weights are computed again: that costs less than keeping them.
    void (*attention_backward)(const AttentionSizes&, const Heads<Stored>& query, const Heads<Stored>& key,
                               const Heads<Stored>& value, const Allowed&, const float* added,
                               const Heads<Stored>& output, const float* statistics,
                               const Heads<Stored>& output_gradient, const Heads<Stored>& query_gradient,
                               const Heads<Stored>& key_gradient, const Heads<Stored>& value_gradient,
                               float* added_gradient);

    // LayerNorm over contiguous rows×width. statistics: rows×2, mean and 1/deviation, for the gradient.
    void (*layer_norm_forward)(int64_t rows, int64_t width, float epsilon, const Stored* x, const Stored* weight,
                               const Stored* bias, Stored* y, float* statistics);

    // weight_gradient and bias_gradient: width floats, overwritten.
    void (*layer_norm_backward)(int64_t rows, int64_t width, const Stored* x, const Stored* weight,
                                const float* statistics, const Stored* y_gradient, Stored* x_gradient,
                                float* weight_gradient, float* bias_gradient);

    // Turns rows×width logits, of any width, into the gradient of their cross-entropy: softmax, less 1 - smoothing at
    // the target (the rest of label smoothing is the same for every element: the caller's). Returns the sum over rows
    // of log Σ exp(logits) - (1 - smoothing) · logit of the target.
    double (*cross_entropy_gradient)(int64_t rows, int64_t width, float smoothing, const int64_t* targets,
                                     Stored* logits);
};

// Each in a file of its own, which is compiled for the instructions it needs. bfloat16 is multiplied by instructions of
// its own (AVX-512 BF16), or widened to floats in the cache, where a processor has AVX-512 without them.
const TrainingKernels<float>& float_kernels();
const TrainingKernels<bfloat16>& bfloat16_kernels();
const TrainingKernels<bfloat16>& widened_kernels();

}  // namespace regard

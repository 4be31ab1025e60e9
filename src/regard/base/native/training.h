// Training kernels for bfloat16 tensors on processors with AVX-512 BF16: what PyTorch runs element by element, row by
// row or with copies in between, in one pass. Matrix products with weights stay with PyTorch, where they run near the
// machine's peak.
//
// Tensors are PyTorch's own memory, given as pointers and strides in elements. A call runs on the calling thread.

#pragma once

#include <cstddef>
#include <cstdint>

namespace regard {

using bfloat16 = uint16_t;  // the upper half of a float

// A B×H×rows×width tensor whose last dimension is contiguous.
struct Heads {
    bfloat16* data;
    ptrdiff_t batch, head, row;  // strides

    bfloat16* at(int64_t b, int64_t h, int64_t r) const { return data + b * batch + h * head + r * row; }
};

// A (B or 1)×1×T×S table of booleans, true where a query may attend; data is null where all may.
struct Allowed {
    const uint8_t* data;
    ptrdiff_t batch, row;  // strides, 0 for what all share
};

struct AttentionSizes {
    int64_t batch, heads, queries, keys, key_width, value_width;
    float scale;
};

// softmax(scale · Q Kᵀ) V; a query that may attend to nothing gets zeros. Widths are multiples of 32.
void attention_forward(const AttentionSizes&, Heads query, Heads key, Heads value, Allowed, Heads output);

// The gradients with respect to query, key and value. The weights are computed again: that costs less than keeping them.
void attention_backward(const AttentionSizes&, Heads query, Heads key, Heads value, Allowed, Heads output_gradient,
                        Heads query_gradient, Heads key_gradient, Heads value_gradient);

// LayerNorm over contiguous rows×width, width a multiple of 32. statistics: rows×2, mean and 1/deviation, for the
// gradient.
void layer_norm_forward(int64_t rows, int64_t width, float epsilon, const bfloat16* x, const bfloat16* weight,
                        const bfloat16* bias, bfloat16* y, float* statistics);

// weight_gradient and bias_gradient: width floats, overwritten.
void layer_norm_backward(int64_t rows, int64_t width, const bfloat16* x, const bfloat16* weight,
                         const float* statistics, const bfloat16* y_gradient, bfloat16* x_gradient,
                         float* weight_gradient, float* bias_gradient);

// Turns rows×width logits into the gradient of their cross-entropy: softmax, less 1 - smoothing at the target (the
// rest of label smoothing is the same for every element: the caller's). Returns the sum over rows of
// log Σ exp(logits) - (1 - smoothing) · logit of the target.
double cross_entropy_gradient(int64_t rows, int64_t width, float smoothing, const int64_t* targets, bfloat16* logits);

}  // namespace regard

// The operations that decide how fast the engine is, once for each instruction set.
//
// kernels_impl.h holds the algorithms, written over vectors of LANES floats; each kernels_<set>.cpp says what such a
// vector is on its instruction set and includes them. Which table of functions is used is decided at run time
// (dispatch.cpp), so one build runs everywhere and every path can be tested on one machine.
//
// Widths: every row of floats is padded with zeros to a multiple of ALIGN, so that no loop has a remainder.

#pragma once

#include <cstddef>
#include <cstdint>

namespace regard {

// Rows are padded to a multiple of this many elements: the widest panel, and a multiple of every vector.
constexpr int ALIGN = 64;

constexpr int round_up(int size, int multiple) { return (size + multiple - 1) / multiple * multiple; }

// Weights N×K, laid out for the matrix product: panels of `panel` output columns, and in a panel the inputs in order.
//   int8:  [N / panel][K / 4][panel][4], so that one instruction multiplies 4 inputs of LANES columns;
//   float: [N / panel][K][panel].
// Panels are what threads share out: one reads its weights as one stream, each once for all rows of the batch.
struct PackedWeights {
    int outputs = 0;  // N, padded to a multiple of panel
    int inputs = 0;   // K, padded to a multiple of 16
    const int8_t* ints = nullptr;     // with int8: the values plus weight_offset, as bytes
    const float* scales = nullptr;    // with int8: N, what one unit of an output's weights is worth
    const int32_t* sums = nullptr;    // with int8: N, sum of an output's weights, for unsigned inputs
    const float* floats = nullptr;    // without
    const float* bias = nullptr;      // N
};

// Rows of inputs: floats, and with int8 also their rounded form, a scale a row.
struct Inputs {
    const float* floats = nullptr;
    ptrdiff_t stride = 0;            // floats from one row to the next; bytes, of ints
    const int8_t* ints = nullptr;
    const float* scales = nullptr;         // what one unit is worth, by row
    const int32_t* corrections = nullptr;  // by row, for what offsets have added: the sum of the row's ints; or, where
                                           // inputs are unsigned, which of them stands for zero

    // The same without the rows before `row`.
    Inputs from(int row) const {
        Inputs rest = *this;
        rest.floats += row * stride;
        if (ints) rest.ints += row * stride, rest.scales += row, rest.corrections += row;
        return rest;
    }
};

enum class Activation { none, relu, gelu, silu };

// y = activation(x·W + bias) + residual
struct Outputs {
    float* floats = nullptr;
    ptrdiff_t stride = 0;
    Activation activation = Activation::none;
    const float* residual = nullptr;  // of stride residual_stride, or nullptr
    ptrdiff_t residual_stride = 0;
};

// A plain product of activations: rows×K times K×(vectors·LANES), both float, for attention.
// Column vector j of input k lies at right + k·LANES + j·vector_stride.
struct SmallProduct {
    const float* left;
    ptrdiff_t left_stride;
    int rows;
    int inputs;
    const float* right;
    ptrdiff_t vector_stride;
    int vectors;
    float scale;
    float* out;
    ptrdiff_t out_stride;
};

// One query against keys and values that lie anywhere: step t's key at steps[t] + key, its value at steps[t] + value.
struct CachedAttention {
    const float* query;
    const float* const* steps;
    ptrdiff_t key;
    ptrdiff_t value;
    int count;
    int key_width;
    int value_width;
    float scale;
    float* weights;  // scratch, count rounded up to ALIGN
    float* out;
};

// Best pieces and normaliser of one row of logits, over the part of the vocabulary seen so far.
struct Scan {
    float maximum;     // of all logits
    float sum;         // Σ exp(logit - maximum)
    int count;         // best pieces wanted
    int found;         // and found, best first
    float* logits;     // of the best
    int32_t* pieces;
};

struct Kernels {
    const char* name;
    int lanes;             // floats in a vector
    int panel;             // columns of a panel of weights
    uint8_t weight_offset; // added to int8 weights when they are packed (an instruction that wants unsigned bytes)
    bool unsigned_inputs;  // a row of inputs becomes 0 to 127, its zero one of them, and not -127 to 127

    void (*multiply_int8)(const PackedWeights&, int first_panel, int last_panel, const Inputs&, int rows,
                          const Outputs&);
    void (*multiply_float)(const PackedWeights&, int first_panel, int last_panel, const Inputs&, int rows,
                           const Outputs&);
    void (*multiply_small)(const SmallProduct&);

    // Round a row to int8: the largest magnitude becomes 127, or where inputs are unsigned, the lowest 0 and the highest
    // 127, zero being among them.
    void (*quantise)(const float* x, int width, int8_t* ints, float* scale, int32_t* correction);
    // (x - mean) / sqrt(variance + epsilon) · gain + bias over `width` values of a row of `padded`
    void (*layer_norm)(const float* x, int width, int padded, const float* gain, const float* bias, float epsilon,
                       float* out);
    // x / sqrt(mean square + epsilon) · gain
    void (*rms_norm)(const float* x, int width, int padded, const float* gain, float epsilon, float* out);
    // In place over `count` values; what follows up to a multiple of LANES becomes zero.
    void (*softmax)(float* x, int count);
    // up = silu(gate)·up
    void (*gate)(float* up, const float* gate, int width);
    void (*attend_cached)(const CachedAttention&);
    // Take `count` logits of the pieces from `first` on into the normaliser of `scan`.
    void (*scan_normaliser)(Scan&, const float* logits, int count);
    // Take them into its best pieces; -inf is never one.
    void (*scan_best)(Scan&, const float* logits, int count, int first);
};

// The table that REGARD_ISA names (avx512, avxvnni, avx512bw, avx2, portable), else the fastest that this processor runs.
// Throws std::invalid_argument where the name is unknown or the processor cannot.
const Kernels& choose_kernels();

// Defined by each instruction set's file; nullptr where the compiler does not know it.
const Kernels* avx512_kernels();
const Kernels* avxvnni_kernels();
const Kernels* avx512bw_kernels();
const Kernels* avx2_kernels();
const Kernels* portable_kernels();

}  // namespace regard

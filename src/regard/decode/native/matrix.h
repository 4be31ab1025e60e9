// A matrix of weights, packed for the kernels of this machine.

#pragma once

#include "buffer.h"
#include "kernels.h"

namespace regard {

// Weights as they come from a file: rows × columns of floats, or of int8 with a scale a row.
struct Weights {
    int rows = 0;
    int columns = 0;
    const float* floats = nullptr;
    const int8_t* ints = nullptr;
    const float* scales = nullptr;
};

class Matrix {
  public:
    Matrix() = default;
    // Pack rows × columns; bias has `rows` values, or is nullptr. Padding is zeros.
    Matrix(const Kernels& kernels, const Weights& weights, const float* bias, bool int8);

    int rows() const { return rows_; }
    int columns() const { return columns_; }
    int panels() const { return packed_.outputs / kernels_->panel; }
    const PackedWeights& packed() const { return packed_; }
    // `count` panels from `first` on as a matrix of their own.
    PackedWeights slice(int first, int count) const;
    // Row `row` in floats: an embedding out of a matrix that also serves as the output projection.
    void unpack_row(int row, float* out) const;

  private:
    const Kernels* kernels_ = nullptr;
    int rows_ = 0, columns_ = 0;
    Buffer<int8_t> ints_;
    Buffer<float> floats_, scales_, bias_;
    PackedWeights packed_;
};

}  // namespace regard

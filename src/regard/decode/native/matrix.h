// A matrix of weights, packed for the kernels of this machine.

#pragma once

#include <vector>

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
    const Kernels& kernels() const { return *kernels_; }
    // Row `row` in floats: an embedding out of a matrix that also serves as the output projection.
    void unpack_row(int row, float* out) const;

  private:
    const Kernels* kernels_ = nullptr;
    int rows_ = 0, columns_ = 0;
    Buffer<int8_t> ints_;
    Buffer<float> floats_, scales_, bias_;
    Buffer<int32_t> sums_;
    PackedWeights packed_;
};

// `count` panels of packed weights, from `first` on, as weights of their own.
PackedWeights slice(const PackedWeights& weights, int panel, int first, int count);

// Some rows of a matrix, packed like it: what a shortlist leaves of the output projection.
class Selection {
  public:
    // Take `rows` of a matrix, in this order. Makes room; fill() copies.
    void start(const Matrix& matrix, const std::vector<int>& rows);
    int panels() const { return packed_.outputs / matrix_->kernels().panel; }
    // Copy the rows of panels first to last - 1; threads may share them out.
    void fill(int first, int last);
    const PackedWeights& packed() const { return packed_; }

  private:
    const Matrix* matrix_ = nullptr;
    const std::vector<int>* rows_ = nullptr;
    Buffer<uint32_t> units_;  // of weights: four int8, or one float
    Buffer<float> scales_, bias_;
    Buffer<int32_t> sums_;
    PackedWeights packed_;
};

}  // namespace regard

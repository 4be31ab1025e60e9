#include "matrix.h"

#include <algorithm>
#include <cmath>

namespace regard {
namespace {

// What a tile reads ahead may lie behind the last panel.
constexpr size_t READ_AHEAD = 8192;

// One row of int8, rounded from floats where the file has none; returns its scale.
float round_row(const Weights& weights, int row, int8_t* out) {
    if (weights.ints) {
        std::copy_n(weights.ints + size_t(row) * weights.columns, weights.columns, out);
        return weights.scales[row];
    }
    const float* from = weights.floats + size_t(row) * weights.columns;
    float largest = 0.0f;
    for (int k = 0; k < weights.columns; ++k) largest = std::max(largest, std::fabs(from[k]));
    const float scale = largest > 0.0f ? largest / 127.0f : 1.0f;
    for (int k = 0; k < weights.columns; ++k) {
        out[k] = int8_t(std::min(127.0f, std::max(-127.0f, std::nearbyintf(from[k] / scale))));
    }
    return scale;
}

}  // namespace

Matrix::Matrix(const Kernels& kernels, const Weights& weights, const float* bias, bool int8)
    : kernels_(&kernels), rows_(weights.rows), columns_(weights.columns) {
    const int panel = kernels.panel;
    packed_.outputs = round_up(rows_, ALIGN);
    packed_.inputs = round_up(columns_, 16);
    const size_t inputs = packed_.inputs, size = packed_.outputs * inputs;
    bias_.reserve(packed_.outputs);
    bias_.clear_to_zero();
    if (bias) std::copy_n(bias, rows_, bias_.data());
    packed_.bias = bias_.data();
    if (!int8) {
        floats_.reserve(size);
        floats_.clear_to_zero();
        for (int n = 0; n < rows_; ++n) {
            float* column = floats_.data() + (n / panel) * panel * inputs + n % panel;
            for (int k = 0; k < columns_; ++k) {
                const size_t from = size_t(n) * columns_ + k;
                column[size_t(k) * panel] =
                    weights.ints ? float(weights.ints[from]) * weights.scales[n] : weights.floats[from];
            }
        }
        packed_.floats = floats_.data();
        return;
    }
    ints_.reserve(size + READ_AHEAD);
    std::memset(ints_.data(), kernels.weight_offset, size + READ_AHEAD);
    scales_.reserve(packed_.outputs);
    scales_.clear_to_zero();
    sums_.reserve(packed_.outputs);
    sums_.clear_to_zero();
    Buffer<int8_t> row(columns_);
    for (int n = 0; n < rows_; ++n) {
        scales_[n] = round_row(weights, n, row.data());
        int8_t* column = ints_.data() + (n / panel) * panel * inputs + n % panel * 4;
        for (int k = 0; k < columns_; ++k) {
            column[size_t(k / 4) * panel * 4 + k % 4] = int8_t(uint8_t(row[k]) + kernels.weight_offset);
            sums_[n] += row[k];
        }
    }
    packed_.ints = ints_.data();
    packed_.scales = scales_.data();
    packed_.sums = sums_.data();
}

void Matrix::unpack_row(int row, float* out) const {
    const int panel = kernels_->panel, column = row % panel;
    const size_t start = size_t(row / panel) * panel * packed_.inputs;
    if (packed_.floats) {
        const float* from = packed_.floats + start + column;
        for (int k = 0; k < columns_; ++k) out[k] = from[size_t(k) * panel];
        return;
    }
    const int8_t* from = packed_.ints + start + column * 4;
    for (int k = 0; k < columns_; ++k) {
        const int value = int8_t(uint8_t(from[size_t(k / 4) * panel * 4 + k % 4]) - kernels_->weight_offset);
        out[k] = float(value) * packed_.scales[row];
    }
}

PackedWeights slice(const PackedWeights& weights, int panel, int first, int count) {
    PackedWeights part = weights;
    const size_t columns = size_t(first) * panel;
    part.outputs = count * panel;
    if (part.ints) part.ints += columns * part.inputs, part.scales += columns, part.sums += columns;
    if (part.floats) part.floats += columns * part.inputs;
    part.bias += columns;
    return part;
}

void Selection::start(const Matrix& matrix, const std::vector<int>& rows) {
    matrix_ = &matrix;
    rows_ = &rows;
    packed_ = matrix.packed();
    packed_.outputs = round_up(int(rows.size()), matrix.kernels().panel);
    const size_t inputs = size_t(packed_.inputs) / (packed_.ints ? 4 : 1);
    units_.reserve(packed_.outputs * inputs);
    bias_.reserve(packed_.outputs);
    packed_.bias = bias_.data();
    if (packed_.ints) {
        scales_.reserve(packed_.outputs);
        packed_.scales = scales_.data();
        sums_.reserve(packed_.outputs);
        packed_.sums = sums_.data();
        packed_.ints = reinterpret_cast<const int8_t*>(units_.data());
    } else {
        packed_.floats = reinterpret_cast<const float*>(units_.data());
    }
}

void Selection::fill(int first, int last) {
    const PackedWeights& all = matrix_->packed();
    const int panel = matrix_->kernels().panel;
    const size_t inputs = size_t(all.inputs) / (all.ints ? 4 : 1), unit = sizeof(uint32_t);
    const char* from = all.ints ? reinterpret_cast<const char*>(all.ints) : reinterpret_cast<const char*>(all.floats);
    for (int place = first * panel; place < last * panel; ++place) {
        // Behind the last row it is row 0 again: nobody looks at what comes out.
        const int row = place < int(rows_->size()) ? (*rows_)[place] : 0;
        bias_[place] = all.bias[row];
        if (all.ints) scales_[place] = all.scales[row], sums_[place] = all.sums[row];
        const char* column = from + (size_t(row / panel) * panel * inputs + row % panel) * unit;
        uint32_t* to = units_.data() + size_t(place / panel) * panel * inputs + place % panel;
        for (size_t k = 0; k < inputs; ++k) std::memcpy(to + k * panel, column + k * panel * unit, unit);
    }
}

}  // namespace regard

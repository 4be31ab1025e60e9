#include "model.h"

#include <algorithm>
#include <stdexcept>

namespace regard {
namespace {

Buffer<float> padded_copy(const std::vector<float>& values, int size) {
    Buffer<float> copy(size);
    copy.clear_to_zero();
    std::copy(values.begin(), values.end(), copy.data());
    return copy;
}

}  // namespace

Model::Model(const Shape& shape, const Kernels& kernels, const Source& source)
    : shape(shape),
      kernels(kernels),
      stride(round_up(shape.d_model, ALIGN)),
      encoder(shape.encoder_layers),
      decoder(shape.decoder_layers) {
    auto matrix = [&](const std::string& name, int rows, int columns) {
        const Weights weights = source.matrix(name);
        if ((rows && weights.rows != rows) || weights.columns != columns) {
            throw std::invalid_argument("'" + name + "' is " + std::to_string(weights.rows) + "×" +
                                        std::to_string(weights.columns) + ", expected " + std::to_string(rows) + "×" +
                                        std::to_string(columns) + ".");
        }
        std::vector<float> bias;
        if (source.has(name + ".bias")) bias = source.vector(name + ".bias");
        if (!bias.empty() && int(bias.size()) != weights.rows) {
            throw std::invalid_argument("'" + name + ".bias' has " + std::to_string(bias.size()) + " values, expected " +
                                        std::to_string(weights.rows) + ".");
        }
        return Matrix(kernels, weights, bias.empty() ? nullptr : bias.data(), shape.int8);
    };
    const int d = shape.d_model, heads = shape.num_heads;
    const int keys = heads * shape.key_width, values = heads * shape.value_width;
    auto feed_forward = [&](const std::string& prefix) {
        FeedForward layer;
        layer.up = matrix(prefix + "up", 0, d);
        if (shape.feed_forward == FeedForwardKind::swiglu) layer.gate = matrix(prefix + "gate", layer.up.rows(), d);
        layer.down = matrix(prefix + "down", d, layer.up.rows());
        return layer;
    };
    auto norms = [&](const std::string& stack, int sublayers) {
        std::vector<std::unique_ptr<Norm>> found;
        for (int i = 0; i <= sublayers; ++i) {
            found.emplace_back();
            const std::string name = stack + ".norm." + std::to_string(i);
            // post-norm models enter the first sublayer by the norm of the embeddings, if they have one
            if (i == 0 && !shape.pre_norm && !source.has(name + ".gain")) continue;
            found.back() = std::make_unique<Norm>();
            for (auto [part, suffix] : {std::pair(&Norm::gain, ".gain"), std::pair(&Norm::bias, ".bias")}) {
                if (shape.norm == NormKind::rms && part == &Norm::bias) continue;
                const std::vector<float> vector = source.vector(name + suffix);
                if (int(vector.size()) != d) throw std::invalid_argument("'" + name + suffix + "' has a wrong size.");
                (*found.back()).*part = padded_copy(vector, stride);
            }
        }
        return found;
    };
    output = matrix("output", 0, d);
    if (source.has("embedding.target")) target_embedding_ = matrix("embedding.target", output.rows(), d);
    if (source.has("embedding.source")) source_embedding_ = matrix("embedding.source", 0, d);
    for (int i = 0; i < shape.encoder_layers; ++i) {
        const std::string prefix = "encoder." + std::to_string(i) + ".";
        encoder[i].self.query = matrix(prefix + "self", 2 * keys + values, d);
        encoder[i].self.out = matrix(prefix + "self.out", d, values);
        encoder[i].feed_forward = feed_forward(prefix);
    }
    for (int i = 0; i < shape.decoder_layers; ++i) {
        const std::string prefix = "decoder." + std::to_string(i) + ".";
        decoder[i].self.query = matrix(prefix + "self", 2 * keys + values, d);
        decoder[i].self.out = matrix(prefix + "self.out", d, values);
        decoder[i].cross.query = matrix(prefix + "cross", keys, d);
        decoder[i].cross.memory = matrix(prefix + "cross.memory", keys + values, d);
        decoder[i].cross.out = matrix(prefix + "cross.out", d, values);
        decoder[i].feed_forward = feed_forward(prefix);
    }
    encoder_norms = norms("encoder", 2 * shape.encoder_layers);
    decoder_norms = norms("decoder", 3 * shape.decoder_layers);
    if (shape.position == PositionKind::learned) {
        auto table = [&](const std::string& name) {
            const Weights weights = source.matrix(name);
            if (weights.columns != d || !weights.floats) throw std::invalid_argument("'" + name + "' has a wrong shape.");
            Buffer<float> rows(size_t(weights.rows) * d);
            std::copy_n(weights.floats, size_t(weights.rows) * d, rows.data());
            return rows;
        };
        source_positions = table("positions.source");
        target_positions = table("positions.target");
    }
}

}  // namespace regard

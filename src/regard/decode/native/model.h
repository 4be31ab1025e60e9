// The weights of an encoder-decoder, packed once and shared by every engine that runs on them.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "matrix.h"

namespace regard {

enum class NormKind { layer, rms };
enum class PositionKind { none, sinusoidal, learned, rotary };
enum class FeedForwardKind { relu, gelu, silu, swiglu };

struct Shape {
    int d_model = 0;
    int num_heads = 0;
    int head_width = 0;   // of a head's queries and keys
    int key_width = 0;    // the same, padded to a multiple of 16
    int value_width = 0;  // of a head's values, padded likewise
    int encoder_layers = 0;
    int decoder_layers = 0;
    NormKind norm = NormKind::layer;
    bool pre_norm = true;
    PositionKind position = PositionKind::sinusoidal;
    FeedForwardKind feed_forward = FeedForwardKind::relu;
    float embedding_scale = 1.0f;
    int bos = 0, eos = 0;
    bool int8 = true;
};

// Where the network finds its weights; names are listed at Model's constructor. Throws what is missing.
class Source {
  public:
    virtual ~Source() = default;
    virtual bool has(const std::string& name) const = 0;
    virtual Weights matrix(const std::string& name) const = 0;
    virtual std::vector<float> vector(const std::string& name) const = 0;
};

struct Norm {
    Buffer<float> gain, bias;
};

struct Attention {
    Matrix query;  // self-attention: query, key and value in one; cross-attention: query
    Matrix memory; // cross-attention only: key and value
    Matrix out;
};

struct FeedForward {
    Matrix up, gate, down;
};

struct EncoderLayer {
    Attention self;
    FeedForward feed_forward;
};

struct DecoderLayer {
    Attention self, cross;
    FeedForward feed_forward;
};

class Model {
  public:
    // The names that `source` must have; a matrix NAME may come with a vector NAME.bias.
    //   output, embedding.target and embedding.source (default: output), positions.source and .target (if learned)
    //   encoder.norm.I.gain and .bias, decoder.norm.I.gain and .bias: in the order they are entered (see network.h)
    //   encoder.I.self, .self.out, .up, .gate (SwiGLU), .down
    //   decoder.I.self, .self.out, .cross, .cross.memory, .cross.out, .up, .gate, .down
    // Throws std::invalid_argument where one is missing or has another shape.
    Model(const Shape& shape, const Kernels& kernels, const Source& source);

    const Matrix& target_embedding() const { return target_embedding_.rows() ? target_embedding_ : output; }
    const Matrix& source_embedding() const { return source_embedding_.rows() ? source_embedding_ : target_embedding(); }
    // Positions that there are vectors for; as good as unlimited where they are computed.
    int max_source_positions() const { return limit(source_positions); }
    int max_target_positions() const { return limit(target_positions); }

    const Shape shape;
    const Kernels& kernels;
    const int stride;  // of the stream: d_model, padded
    Matrix output;
    Buffer<float> source_positions, target_positions;  // learned ones
    std::vector<EncoderLayer> encoder;
    std::vector<DecoderLayer> decoder;
    std::vector<std::unique_ptr<Norm>> encoder_norms, decoder_norms;

  private:
    int limit(const Buffer<float>& positions) const {
        return shape.position == PositionKind::learned ? int(positions.size() / shape.d_model) : 1 << 30;
    }
    Matrix source_embedding_, target_embedding_;
};

}  // namespace regard

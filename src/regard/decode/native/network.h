// The Transformer at work: encoder and decoder steps over rows of any number of sentences.
//
// There is no padding between sentences: the encoder sees one long list of rows, and attention is shared out as
// (sentence, head) pairs. Every thread runs the same code (see team.h) and does its part of each operation: matrix
// products by panels of output columns, attention by pairs, everything else by rows.
//
// Pre-norm and post-norm are one program. A sublayer computes  stream = base + f(h)  with  h = norm(stream).
// Pre-norm adds to the stream itself; post-norm adds to h. So the norms are numbered by where they are *entered*:
// pre-norm models enter sublayer i by its own norm and leave the stack by the final one; post-norm models enter the
// first sublayer by none, sublayer i by the norm of sublayer i - 1, and leave by the last sublayer's.

#pragma once

#include <memory>
#include <vector>

#include "cache.h"
#include "model.h"
#include "team.h"

namespace regard {

// Rows made ready for a product: normalised, rounded, or both.
struct Prepared {
    Buffer<float> floats;
    Buffer<int8_t> ints;
    Buffer<float> scales;
    Buffer<int32_t> corrections;
    void reserve(size_t rows, size_t stride);
};

// What one thread has for itself.
struct Worker {
    int id = 0;
    Prepared normed, rounded;
    Buffer<float> scratch;
    Buffer<float> logits;
};

// A sentence that is being encoded, as part of a list.
struct EncoderItem {
    const std::vector<int>* source;
    int first_row;
    Memory* memory;
};

// One row of a decoder step.
struct DecoderRow {
    int piece;
    int position;
    int slot;                          // column of the cache that its keys go to
    std::vector<const float*> steps;   // where the keys of its past lie, and its own last
};

// The rows of one sentence in a decoder step.
struct DecoderItem {
    const Memory* memory;
    Cache* cache;
    int first_row;
    int rows;
    float* attention;  // rows × heads × length of the source, of the last layer; or nullptr
};

struct DecoderBatch {
    std::vector<DecoderItem> items;
    std::vector<DecoderRow> rows;
};

class Network {
  public:
    Network(std::shared_ptr<const Model> model, int threads);

    const Model& model() const { return *model_; }

    // ---- one thread calls these before all threads work

    void reserve(int encoder_rows, int longest_source, int decoder_rows, int longest_target);

    // ---- all threads call these together

    // Run the encoder over all rows and project them to what each decoder layer attends to.
    void encode(Team& team, int id, const std::vector<EncoderItem>& items, int rows);
    // Run the decoder over one row of each hypothesis; returns what the output projection multiplies.
    Inputs decode(Team& team, int id, const DecoderBatch& batch);

    Worker& worker(int id) { return workers_[id]; }
    const Cache::Layout& cache_layout() const { return cache_layout_; }
    const Memory::Layout& memory_layout() const { return memory_layout_; }

  private:
    void extend_positions(int count);
    void embed(const Matrix& table, const Buffer<float>& learned, int piece, int position, float* out) const;
    Inputs prepare(Team& team, int id, const float* x, ptrdiff_t stride, int rows, int width, const Norm* norm);
    void multiply(Team& team, int id, const Matrix& matrix, const Inputs& x, int rows, Outputs out) const;
    void feed_forward(Team& team, int id, const FeedForward& layer, const Norm* norm, int rows);
    void add_to_stream(Team& team, int id, const Matrix& matrix, const Inputs& x, const Inputs& h, int rows);
    void rotate(float* head, int position) const;
    void pack_heads(const float* keys, const float* values, ptrdiff_t stride, int count, float* packed_keys,
                    float* packed_values) const;
    void attend_packed(Worker& worker, const float* query, ptrdiff_t query_stride, int rows, const float* keys,
                       const float* values, int count, float* out, ptrdiff_t out_stride, float* weights,
                       ptrdiff_t weights_stride) const;
    void encoder_attention(Team& team, int id, const std::vector<EncoderItem>& items);
    void fill_memory(Team& team, int id, const std::vector<EncoderItem>& items, int layer);
    void self_attention(Team& team, int id, const DecoderBatch& batch, int layer);
    void cross_attention(Team& team, int id, const DecoderBatch& batch, int layer);

    const std::shared_ptr<const Model> model_;
    const Shape& shape_;
    const Kernels& kernels_;
    const int stride_;     // of the stream
    const float scale_;    // of attention scores
    Buffer<float> angles_; // sines and cosines of sinusoidal or rotary positions
    int positions_ = 0;    // how many
    Cache::Layout cache_layout_;
    Memory::Layout memory_layout_;

    // Shared by the threads within a call.
    Buffer<float> stream_, projected_, attended_, hidden_, gates_;
    Prepared normed_, rounded_;
    std::vector<Worker> workers_;
};

}  // namespace regard

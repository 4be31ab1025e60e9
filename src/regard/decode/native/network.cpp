#include "network.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace regard {
namespace {

// Rows × width up to which every thread prepares all rows for itself: cheaper than waiting for each other.
constexpr int ALONE = 4096;
constexpr int FIRST_POSITIONS = 256;

Activation activation_of(FeedForwardKind kind) {
    switch (kind) {
        case FeedForwardKind::relu: return Activation::relu;
        case FeedForwardKind::gelu: return Activation::gelu;
        case FeedForwardKind::silu: return Activation::silu;
        default: return Activation::none;  // SwiGLU's is the gate's
    }
}

}  // namespace

void Prepared::reserve(size_t rows, size_t stride) {
    floats.reserve(rows * stride);
    ints.reserve(rows * stride);
    scales.reserve(rows);
    corrections.reserve(rows);
}

// ---- building

Network::Network(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)),
      shape_(model_->shape),
      kernels_(model_->kernels),
      stride_(model_->stride),
      scale_(1.0f / std::sqrt(float(shape_.head_width))),
      cache_layout_{shape_.num_heads, shape_.decoder_layers, shape_.key_width, shape_.value_width},
      memory_layout_{shape_.num_heads, shape_.decoder_layers, shape_.key_width, shape_.value_width, kernels_.lanes},
      workers_(threads) {
    for (int id = 0; id < threads; ++id) {
        workers_[id].id = id;
        workers_[id].normed.reserve(ALONE, 1);
        workers_[id].rounded.reserve(ALONE, 1);
    }
    extend_positions(FIRST_POSITIONS);
}

// Sines and cosines for positions below `count`, in twice as many steps each time.
void Network::extend_positions(int count) {
    if (count <= positions_) return;
    const bool rotary = shape_.position == PositionKind::rotary;
    if (!rotary && shape_.position != PositionKind::sinusoidal) return;
    positions_ = std::max(count, 2 * positions_);
    // Sinusoidal (Vaswani et al. 2017, section 3.5): sine at even, cosine at odd columns of d_model.
    // Rotary (Su et al. 2021, equation 34): for each pair of features its cosine, then its sine.
    const int width = rotary ? shape_.head_width : shape_.d_model;
    angles_.reserve(size_t(positions_) * width);
    for (int position = 0; position < positions_; ++position) {
        float* row = angles_.data() + size_t(position) * width;
        for (int i = 0; i < width; i += 2) {
            const double angle = position * std::exp(-std::log(10000.0) * i / width);
            row[i] = float(rotary ? std::cos(angle) : std::sin(angle));
            if (i + 1 < width) row[i + 1] = float(rotary ? std::sin(angle) : std::cos(angle));
        }
    }
}

void Network::reserve(int encoder_rows, int longest_source, int decoder_rows, int longest_target) {
    extend_positions(std::max(longest_source, longest_target) + 1);
    const size_t rows = std::max(encoder_rows, decoder_rows);
    const int keys = shape_.num_heads * shape_.key_width, values = shape_.num_heads * shape_.value_width;
    size_t hidden = 0;
    for (auto& layer : model_->encoder) hidden = std::max<size_t>(hidden, layer.feed_forward.up.packed().outputs);
    for (auto& layer : model_->decoder) hidden = std::max<size_t>(hidden, layer.feed_forward.up.packed().outputs);
    const size_t attended = round_up(values, ALIGN);
    stream_.reserve(rows * stride_);
    projected_.reserve(rows * round_up(2 * keys + values, ALIGN));
    attended_.reserve(rows * attended);
    hidden_.reserve(rows * hidden);
    if (shape_.feed_forward == FeedForwardKind::swiglu) gates_.reserve(rows * hidden);
    normed_.reserve(rows, stride_);
    rounded_.reserve(rows, std::max(hidden, attended));
    // Packed keys and values of one sentence, and the scores of its rows.
    const size_t source = round_up(longest_source, ALIGN), most_rows = std::max<size_t>(longest_source, decoder_rows);
    const size_t scratch =
        source * (shape_.key_width + shape_.value_width) + std::max(most_rows * source, size_t(round_up(longest_target + 1, ALIGN)));
    for (auto& worker : workers_) worker.scratch.reserve(scratch);
}

// ---- parts

// Embedding (times √D) + position.
void Network::embed(const Matrix& table, const Buffer<float>& learned, int piece, int position, float* out) const {
    table.unpack_row(piece, out);
    for (int k = 0; k < shape_.d_model; ++k) out[k] *= shape_.embedding_scale;
    std::fill(out + shape_.d_model, out + stride_, 0.0f);
    if (shape_.position == PositionKind::sinusoidal || shape_.position == PositionKind::learned) {
        const Buffer<float>& vectors = shape_.position == PositionKind::learned ? learned : angles_;
        const float* row = vectors.data() + size_t(position) * shape_.d_model;
        for (int k = 0; k < shape_.d_model; ++k) out[k] += row[k];
    }
}

// Normalise rows (with a norm) and round them (in int8). Few rows each thread prepares for itself.
Inputs Network::prepare(Team& team, int id, const float* x, ptrdiff_t stride, int rows, int width, const Norm* norm) {
    if (!norm && !shape_.int8) return {x, stride};
    const bool alone = rows * stride <= ALONE;
    Prepared& into = alone ? (norm ? workers_[id].normed : workers_[id].rounded) : (norm ? normed_ : rounded_);
    const Range mine = alone ? Range{0, rows} : team.share(rows, id);
    const int padded = round_up(width, 16);
    for (int row = mine.first; row < mine.last; ++row) {
        const float* from = x + row * stride;
        if (norm) {
            float* to = into.floats.data() + row * stride;
            if (shape_.norm == NormKind::layer) {
                kernels_.layer_norm(from, width, int(stride), norm->gain.data(), norm->bias.data(), 1e-5f, to);
            } else {
                kernels_.rms_norm(from, width, int(stride), norm->gain.data(), 1e-6f, to);
            }
            from = to;
        }
        if (shape_.int8) {
            kernels_.quantise(from, padded, into.ints.data() + row * stride, &into.scales[row],
                              &into.corrections[row]);
        }
    }
    if (!alone) team.barrier(id);
    return {norm ? into.floats.data() : x, stride, into.ints.data(), into.scales.data(), into.corrections.data()};
}

// This thread's part of x·W. Where there are fewer panels than threads, rows are shared out as well.
void Network::multiply(Team& team, int id, const Matrix& matrix, const Inputs& x, int rows, Outputs out) const {
    const int threads = team.width(), panels = matrix.panels();
    const int groups = panels >= threads ? 1 : std::min(threads / panels, (rows + 3) / 4);
    const int members = threads / groups, group = id / members;
    if (group >= groups) return;
    const int member = id % members;
    const int first = int(int64_t(rows) * group / groups), count = int(int64_t(rows) * (group + 1) / groups) - first;
    out.floats += first * out.stride;
    if (out.residual) out.residual += first * out.residual_stride;
    (shape_.int8 ? kernels_.multiply_int8 : kernels_.multiply_float)(
        matrix.packed(), panels * member / members, panels * (member + 1) / members, x.from(first), count, out);
}

// stream = (stream or h) + x·W
void Network::add_to_stream(Team& team, int id, const Matrix& matrix, const Inputs& x, const Inputs& h, int rows) {
    const float* base = shape_.pre_norm ? stream_.data() : h.floats;
    multiply(team, id, matrix, x, rows, {stream_.data(), stride_, Activation::none, base, stride_});
    team.barrier(id);
}

void Network::feed_forward(Team& team, int id, const FeedForward& layer, const Norm* norm, int rows) {
    const Inputs h = prepare(team, id, stream_.data(), stride_, rows, shape_.d_model, norm);
    const ptrdiff_t stride = layer.up.packed().outputs;
    const bool gated = shape_.feed_forward == FeedForwardKind::swiglu;
    multiply(team, id, layer.up, h, rows, {hidden_.data(), stride, activation_of(shape_.feed_forward)});
    if (gated) {
        multiply(team, id, layer.gate, h, rows, {gates_.data(), stride});
        team.barrier(id);
        const Range mine = team.share(rows, id);
        for (int row = mine.first; row < mine.last; ++row) {
            kernels_.gate(hidden_.data() + row * stride, gates_.data() + row * stride, int(stride));
        }
    }
    team.barrier(id);
    const Inputs inner = prepare(team, id, hidden_.data(), stride, rows, layer.up.rows(), nullptr);
    add_to_stream(team, id, layer.down, inner, h, rows);
}

// Turn the pairs (i, i + width / 2) of one head by the angle of its position.
void Network::rotate(float* head, int position) const {
    const int half = shape_.head_width / 2;
    const float* turn = angles_.data() + size_t(position) * shape_.head_width;
    for (int i = 0; i < half; ++i) {
        const float a = head[i], b = head[i + half], cosine = turn[2 * i], sine = turn[2 * i + 1];
        head[i] = a * cosine - b * sine;
        head[i + half] = b * cosine + a * sine;
    }
}

// Lay `count` keys and values of one head out as Memory describes.
void Network::pack_heads(const float* keys, const float* values, ptrdiff_t stride, int count, float* packed_keys,
                         float* packed_values) const {
    const int lanes = kernels_.lanes, width = shape_.key_width;
    for (int first = 0; first < count; first += lanes) {
        float* block = packed_keys + size_t(first) * width;
        for (int i = 0; i < lanes; ++i) {
            const float* key = keys + (first + i) * stride;
            for (int k = 0; k < width; ++k) block[k * lanes + i] = first + i < count ? key[k] : 0.0f;
        }
    }
    for (int v = 0; v < shape_.value_width; v += lanes) {
        float* block = packed_values + size_t(v) * count;
        for (int t = 0; t < count; ++t) std::copy_n(values + t * stride + v, lanes, block + t * lanes);
    }
}

// Attention of `rows` queries of one head to packed keys and values.
void Network::attend_packed(Worker& worker, const float* query, ptrdiff_t query_stride, int rows, const float* keys,
                            const float* values, int count, float* out, ptrdiff_t out_stride, float* weights,
                            ptrdiff_t weights_stride) const {
    const int lanes = kernels_.lanes, padded = round_up(count, lanes);
    float* scores = worker.scratch.data();
    kernels_.multiply_small({query, query_stride, rows, shape_.key_width, keys, ptrdiff_t(shape_.key_width) * lanes,
                             padded / lanes, scale_, scores, padded});
    for (int row = 0; row < rows; ++row) {
        kernels_.softmax(scores + size_t(row) * padded, count);
        if (weights) std::copy_n(scores + size_t(row) * padded, count, weights + row * weights_stride);
    }
    kernels_.multiply_small({scores, padded, rows, count, values, ptrdiff_t(count) * lanes,
                             shape_.value_width / lanes, 1.0f, out, out_stride});
}

// ---- encoder

void Network::encoder_attention(Team& team, int id, const std::vector<EncoderItem>& items) {
    const int heads = shape_.num_heads, keys = heads * shape_.key_width, values = heads * shape_.value_width;
    const ptrdiff_t stride = round_up(2 * keys + values, ALIGN), out_stride = round_up(values, ALIGN);
    const Range mine = team.share(int(items.size()) * heads, id);
    Worker& worker = workers_[id];
    for (int pair = mine.first; pair < mine.last; ++pair) {
        const EncoderItem& item = items[pair / heads];
        const int head = pair % heads, count = int(item.source->size());
        float* query = projected_.data() + item.first_row * stride + head * shape_.key_width;
        float* key = query + keys;
        const float* value = projected_.data() + item.first_row * stride + 2 * keys + head * shape_.value_width;
        if (shape_.position == PositionKind::rotary) {
            for (int t = 0; t < count; ++t) rotate(query + t * stride, t), rotate(key + t * stride, t);
        }
        const size_t padded = round_up(count, kernels_.lanes);
        float* packed_keys = worker.scratch.data() + size_t(count) * padded;
        float* packed_values = packed_keys + padded * shape_.key_width;
        pack_heads(key, value, stride, count, packed_keys, packed_values);
        attend_packed(worker, query, stride, count, packed_keys, packed_values, count,
                      attended_.data() + item.first_row * out_stride + head * shape_.value_width, out_stride, nullptr, 0);
    }
    team.barrier(id);
}

void Network::fill_memory(Team& team, int id, const std::vector<EncoderItem>& items, int layer) {
    const int heads = shape_.num_heads, keys = heads * shape_.key_width, values = heads * shape_.value_width;
    const ptrdiff_t stride = round_up(keys + values, ALIGN);
    const Range mine = team.share(int(items.size()) * heads, id);
    for (int pair = mine.first; pair < mine.last; ++pair) {
        const EncoderItem& item = items[pair / heads];
        const int head = pair % heads;
        const float* row = projected_.data() + item.first_row * stride;
        pack_heads(row + head * shape_.key_width, row + keys + head * shape_.value_width, stride,
                   int(item.source->size()), item.memory->keys(layer, head), item.memory->values(layer, head));
    }
    team.barrier(id);
}

void Network::encode(Team& team, int id, const std::vector<EncoderItem>& items, int rows) {
    const int heads = shape_.num_heads, keys = heads * shape_.key_width, values = heads * shape_.value_width;
    const Range mine = team.share(int(items.size()), id);
    for (int i = mine.first; i < mine.last; ++i) {
        const std::vector<int>& source = *items[i].source;
        for (int t = 0; t < int(source.size()); ++t) {
            embed(model_->source_embedding(), model_->source_positions, source[t], t, stream_.data() + (items[i].first_row + t) * stride_);
        }
    }
    team.barrier(id);
    const ptrdiff_t projected = round_up(2 * keys + values, ALIGN), attended = round_up(values, ALIGN);
    size_t sublayer = 0;
    for (const EncoderLayer& layer : model_->encoder) {
        const Inputs h = prepare(team, id, stream_.data(), stride_, rows, shape_.d_model, model_->encoder_norms[sublayer++].get());
        multiply(team, id, layer.self.query, h, rows, {projected_.data(), projected});
        team.barrier(id);
        encoder_attention(team, id, items);
        const Inputs inner = prepare(team, id, attended_.data(), attended, rows, values, nullptr);
        add_to_stream(team, id, layer.self.out, inner, h, rows);
        feed_forward(team, id, layer.feed_forward, model_->encoder_norms[sublayer++].get(), rows);
    }
    const Inputs memory = prepare(team, id, stream_.data(), stride_, rows, shape_.d_model, model_->encoder_norms[sublayer].get());
    for (int i = 0; i < shape_.decoder_layers; ++i) {
        multiply(team, id, model_->decoder[i].cross.memory, memory, rows, {projected_.data(), round_up(keys + values, ALIGN)});
        team.barrier(id);
        fill_memory(team, id, items, i);
    }
}

// ---- decoder

void Network::self_attention(Team& team, int id, const DecoderBatch& batch, int layer) {
    const int heads = shape_.num_heads, keys = heads * shape_.key_width, values = heads * shape_.value_width;
    const ptrdiff_t stride = round_up(2 * keys + values, ALIGN), out_stride = round_up(values, ALIGN);
    const Range mine = team.share(int(batch.items.size()) * heads, id);
    for (int pair = mine.first; pair < mine.last; ++pair) {
        const DecoderItem& item = batch.items[pair / heads];
        const int head = pair % heads;
        const ptrdiff_t offset = item.cache->offset(layer, head);
        for (int row = item.first_row; row < item.first_row + item.rows; ++row) {
            float* query = projected_.data() + row * stride + head * shape_.key_width;
            float* key = query + keys;
            const float* value = projected_.data() + row * stride + 2 * keys + head * shape_.value_width;
            const DecoderRow& place = batch.rows[row];
            if (shape_.position == PositionKind::rotary) rotate(query, place.position), rotate(key, place.position);
            float* cached = item.cache->at(place.position, place.slot) + offset;
            std::copy_n(key, shape_.key_width, cached);
            std::copy_n(value, shape_.value_width, cached + shape_.key_width);
            kernels_.attend_cached({query, place.steps.data(), offset, offset + shape_.key_width,
                                    int(place.steps.size()), shape_.key_width, shape_.value_width, scale_,
                                    workers_[id].scratch.data(),
                                    attended_.data() + row * out_stride + head * shape_.value_width});
        }
    }
    team.barrier(id);
}

void Network::cross_attention(Team& team, int id, const DecoderBatch& batch, int layer) {
    const int heads = shape_.num_heads;
    const ptrdiff_t stride = round_up(heads * shape_.key_width, ALIGN);
    const ptrdiff_t out_stride = round_up(heads * shape_.value_width, ALIGN);
    const Range mine = team.share(int(batch.items.size()) * heads, id);
    for (int pair = mine.first; pair < mine.last; ++pair) {
        const DecoderItem& item = batch.items[pair / heads];
        const int head = pair % heads, count = item.memory->length();
        float* weights = nullptr;
        if (item.attention && layer + 1 == shape_.decoder_layers) weights = item.attention + size_t(head) * count;
        attend_packed(workers_[id], projected_.data() + item.first_row * stride + head * shape_.key_width, stride,
                      item.rows, item.memory->keys(layer, head), item.memory->values(layer, head), count,
                      attended_.data() + item.first_row * out_stride + head * shape_.value_width, out_stride, weights,
                      ptrdiff_t(heads) * count);
    }
    team.barrier(id);
}

Inputs Network::decode(Team& team, int id, const DecoderBatch& batch) {
    const int rows = int(batch.rows.size());
    const int heads = shape_.num_heads, keys = heads * shape_.key_width, values = heads * shape_.value_width;
    const Range mine = team.share(rows, id);
    for (int row = mine.first; row < mine.last; ++row) {
        embed(model_->target_embedding(), model_->target_positions, batch.rows[row].piece, batch.rows[row].position,
              stream_.data() + row * stride_);
    }
    team.barrier(id);
    const ptrdiff_t attended = round_up(values, ALIGN);
    size_t sublayer = 0;
    for (int i = 0; i < shape_.decoder_layers; ++i) {
        const DecoderLayer& layer = model_->decoder[i];
        Inputs h = prepare(team, id, stream_.data(), stride_, rows, shape_.d_model, model_->decoder_norms[sublayer++].get());
        multiply(team, id, layer.self.query, h, rows, {projected_.data(), round_up(2 * keys + values, ALIGN)});
        team.barrier(id);
        self_attention(team, id, batch, i);
        Inputs inner = prepare(team, id, attended_.data(), attended, rows, values, nullptr);
        add_to_stream(team, id, layer.self.out, inner, h, rows);

        h = prepare(team, id, stream_.data(), stride_, rows, shape_.d_model, model_->decoder_norms[sublayer++].get());
        multiply(team, id, layer.cross.query, h, rows, {projected_.data(), round_up(keys, ALIGN)});
        team.barrier(id);
        cross_attention(team, id, batch, i);
        inner = prepare(team, id, attended_.data(), attended, rows, values, nullptr);
        add_to_stream(team, id, layer.cross.out, inner, h, rows);

        feed_forward(team, id, layer.feed_forward, model_->decoder_norms[sublayer++].get(), rows);
    }
    return prepare(team, id, stream_.data(), stride_, rows, shape_.d_model, model_->decoder_norms[sublayer].get());
}

}  // namespace regard

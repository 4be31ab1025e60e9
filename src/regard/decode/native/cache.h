// What decoding keeps of one sentence: keys and values of the source, and of what was produced.

#pragma once

#include <memory>
#include <vector>

#include "buffer.h"
#include "kernels.h"

namespace regard {

// Keys and values of the encoder's output for every decoder layer and head, laid out for SmallProduct:
//   keys   [S / LANES][K][LANES]   LANES keys side by side, so that a product gives their scores in one vector
//   values [V / LANES][S][LANES]
class Memory {
  public:
    struct Layout {
        int heads, layers, key_width, value_width, lanes;
    };

    void start(const Layout& layout, int length) {
        layout_ = layout;
        length_ = length;
        const size_t padded = size_t(round_up(length, layout.lanes));
        keys_ = padded * layout.key_width;
        head_ = keys_ + size_t(length) * layout.value_width;
        data_.reserve(head_ * layout.heads * layout.layers);
    }
    int length() const { return length_; }
    float* keys(int layer, int head) { return data_.data() + head_ * (size_t(layer) * layout_.heads + head); }
    float* values(int layer, int head) { return keys(layer, head) + keys_; }
    const float* keys(int layer, int head) const { return const_cast<Memory*>(this)->keys(layer, head); }
    const float* values(int layer, int head) const { return const_cast<Memory*>(this)->values(layer, head); }

  private:
    Layout layout_{};
    int length_ = 0;
    size_t keys_ = 0, head_ = 0;
    Buffer<float> data_;
};

// Keys and values of the pieces produced so far, for up to `slots` hypotheses.
//
// What a hypothesis wrote stays where it is: when beams branch, nothing is copied, and a hypothesis finds its past by
// the slots that its ancestors had (DecoderRow::steps). Pages of a few steps are added as the sentence grows:
//   [layer][head][slot][step of the page][key, value]
class Cache {
  public:
    static constexpr int PAGE = 16;
    struct Layout {
        int heads, layers, key_width, value_width;
    };

    void start(const Layout& layout, int slots) {
        layout_ = layout;
        slots_ = slots;
        pages_.clear();
    }
    // Make room for step number `step`.
    void reserve(int step) {
        while (int(pages_.size()) * PAGE <= step) {
            pages_.emplace_back(head_size() * layout_.heads * layout_.layers);
        }
    }
    // Where the key of the first head of the first layer lies; its value follows it.
    float* at(int step, int slot) {
        return pages_[step / PAGE].data() + size_t(slot * PAGE + step % PAGE) * width();
    }
    // From there to another layer and head.
    ptrdiff_t offset(int layer, int head) const {
        return ptrdiff_t(head_size() * (size_t(layer) * layout_.heads + head));
    }

  private:
    size_t width() const { return size_t(layout_.key_width + layout_.value_width); }
    size_t head_size() const { return width() * PAGE * slots_; }

    Layout layout_{};
    int slots_ = 0;
    std::vector<Buffer<float>> pages_;
};

}  // namespace regard

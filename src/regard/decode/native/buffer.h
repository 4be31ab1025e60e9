// Memory for vectors: aligned to cache lines, and only as much as was ever needed at once.

#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace regard {

template <class T>
class Buffer {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    Buffer() = default;
    // `count` elements, not initialised.
    explicit Buffer(size_t count) { reserve(count); }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }

    // Make room for `count` elements; what was there is lost when it has to grow.
    void reserve(size_t count) {
        if (count <= count_) return;
        ::operator delete(data_, std::align_val_t(64));
        data_ = nullptr;
        count_ = 0;
        data_ = static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64)));
        count_ = count;
    }

    void clear_to_zero() {
        if (count_) std::memset(data_, 0, count_ * sizeof(T));
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }
    size_t size() const { return count_; }

  private:
    void swap(Buffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
    }

    T* data_ = nullptr;
    size_t count_ = 0;
};

}  // namespace regard

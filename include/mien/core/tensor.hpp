// Tensor and view: contiguous, row-major, 64-byte aligned.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "mien/core/bfloat16.hpp"
#include "mien/core/huge_pages.hpp"
#include "mien/core/shape.hpp"

namespace mien {

/// Alignment of every tensor and workspace: a cache line, an AVX-512 register, a row of an AMX tile.
inline constexpr std::size_t alignment = 64;

/// Borrowed contiguous row-major elements with a shape. Copying copies the pointer.
template <class T>
class TensorView {
 public:
  TensorView() = default;
  TensorView(T* data, const Shape& shape) : data_(data), shape_(shape) {}
  /// A view of const elements from one of mutable ones.
  template <class U>
  requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>) TensorView(const TensorView<U>& other)
      : data_(other.data()), shape_(other.shape()) {}

  T* data() const { return data_; }
  const Shape& shape() const { return shape_; }
  index_t size() const { return shape_.size(); }
  /// False for a view of nothing, by which layers are told that a result is not wanted.
  explicit operator bool() const { return data_ != nullptr; }
  T& operator[](index_t i) const { return data_[i]; }
  T* begin() const { return data_; }
  T* end() const { return data_ + (data_ ? size() : 0); }
  std::span<T> span() const { return {data_, static_cast<std::size_t>(data_ ? size() : 0)}; }

  /// The same elements as another shape. Throws ShapeError if the number of elements differs.
  TensorView reshaped(const Shape& shape) const {
    if (shape.size() != size()) {
      fail<ShapeError>({"cannot view ", shape_, " as ", shape});
    }
    return {data_, shape};
  }

  /// Entries `first` to `first + count` of the first axis. Throws ShapeError outside it.
  TensorView slice(index_t first, index_t count) const {
    if (shape_.rank() == 0 || first < 0 || count < 0 || first > shape_[0] || count > shape_[0] - first) {
      fail<ShapeError>({"slice of ", count, " from ", first, " leaves ", shape_});
    }
    const Shape rest = shape_.without_batch();
    return {data_ + first * rest.size(), rest.with_batch(count)};
  }

 private:
  T* data_ = nullptr;
  Shape shape_;
};

/// Owned contiguous row-major elements, aligned to 64 bytes and set to zero on construction.
template <class T>
class Tensor {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Tensor() = default;
  /// Throws std::bad_alloc when memory runs out.
  explicit Tensor(const Shape& shape) : shape_(shape), data_(allocate(shape.size())) {
    std::fill_n(data_.get(), shape.size(), T{});
  }
  Tensor(const Shape& shape, std::span<const T> values) : Tensor(shape) {
    if (static_cast<index_t>(values.size()) != shape.size()) {
      fail<ShapeError>({values.size(), " values for a tensor of shape ", shape});
    }
    std::copy(values.begin(), values.end(), data());
  }
  Tensor(const Tensor& other) : shape_(other.shape_), data_(allocate(other.size())) {
    std::copy_n(other.data(), other.size(), data());
  }
  Tensor(Tensor&& other) noexcept
      : shape_(std::exchange(other.shape_, Shape{0})), data_(std::exchange(other.data_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(shape_, other.shape_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Tensor() = default;

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  const Shape& shape() const { return shape_; }
  index_t size() const { return shape_.size(); }
  T& operator[](index_t i) { return data_.get()[i]; }
  const T& operator[](index_t i) const { return data_.get()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size(); }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size(); }
  std::span<T> span() { return {data(), static_cast<std::size_t>(size())}; }
  std::span<const T> span() const { return {data(), static_cast<std::size_t>(size())}; }
  TensorView<T> view() { return {data(), shape_}; }
  TensorView<const T> view() const { return {data(), shape_}; }
  operator TensorView<T>() { return view(); }
  operator TensorView<const T>() const { return view(); }

 private:
  struct Free {
    void operator()(T* pointer) const { ::operator delete (pointer, std::align_val_t{alignment}); }
  };
  static std::unique_ptr<T, Free> allocate(index_t count) {
    const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
    std::unique_ptr<T, Free> data(static_cast<T*>(::operator new (bytes, std::align_val_t{alignment})));
    detail::prefer_huge_pages(data.get(), bytes);
    return data;
  }

  Shape shape_{0};
  std::unique_ptr<T, Free> data_;
};

}  // namespace mien

// Prepared: a network made ready for fast inference of batches of one size.
#pragma once

#include <utility>

#include "mien/nn/sequential.hpp"

namespace mien {

/// A trained network with its weights packed for the kernels once, instead of in every pass: what counts when one
/// image, or a few, are read at a time. It keeps the network as it was given; results are those of Sequential::infer,
/// bit for bit. The packed weights take about as much memory as the network itself, 2.8 or 4 times as much where 3x3
/// windows are filtered by Winograd's way; in bfloat16 half of it with AMX, and without it in dense layers of many
/// units. Const and shared by any number of threads, each with its Workspace.
template <class T>
class Prepared {
 public:
  /// For batches of `batch` inputs. Throws ArgumentError for a network that is not built or a batch below 1.
  explicit Prepared(Sequential<T> network, index_t batch = 1) : network_(std::move(network)), batch_(batch) {
    if (!network_.built()) fail<ArgumentError>("Prepared: the network is not built: call build(shape of one sample)");
    if (batch < 1) fail<ArgumentError>({"Prepared: batches of ", batch, " inputs, expected 1 or more"});
    const Tensor<T> x(network_.input_shape().with_batch(batch));
    Tensor<T> y(network_.output_shape().with_batch(batch));
    packed_ = Tensor<std::byte>(Shape{static_cast<index_t>(padded(network_.packed_bytes(x.shape()) + 1))});
    Workspace workspace;
    network_.infer_packed(x.view(), y.view(), workspace, packed_.span(), false);
  }

  const Sequential<T>& network() const { return network_; }

  /// y (batch, ...output) from x (batch, ...input); batches of another size are no error, only slower. Allocates
  /// nothing once `workspace` has seen the size. Throws ShapeError if x or y do not fit.
  void infer(TensorView<const T> x, TensorView<T> y, Workspace& workspace) const {
    if (x.shape() != network_.input_shape().with_batch(batch_)) return network_.infer(x, y, workspace);
    // What is ready is only read.
    network_.infer_packed(x, y, workspace, const_cast<Tensor<std::byte>&>(packed_).span(), true);
  }

 private:
  Sequential<T> network_;
  index_t batch_;
  Tensor<std::byte> packed_;
};

}  // namespace mien

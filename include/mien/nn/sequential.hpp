// Sequential: a chain of layers, and the network that a user builds, trains and saves.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mien/nn/any_layer.hpp"
#include "mien/nn/layer.hpp"
#include "mien/nn/workspace.hpp"

namespace mien {

/// Positions [first, last) of a chain; last = -1 means its end.
struct Range {
  index_t first = 0;
  index_t last = -1;
};

/// A chain of layers over scalar T (float, double, bfloat16). As a network: build it, then infer (const, from any
/// number of threads, each with its Workspace) or train. As a part: put it into another Sequential, Residual or Concat;
/// a Sequential inside a Sequential is spliced in, its layers' names prefixed by its own.
template <class T>
class Sequential {
 public:
  using P = parameter_t<T>;

  Sequential() = default;
  template <class... Layers>
  requires(sizeof...(Layers) > 1 ||
           (sizeof...(Layers) == 1 && !(std::same_as<std::remove_cvref_t<Layers>, Sequential> || ...))) MIEN_COLD
      Sequential(Layers&&... layers) {
    (add(std::forward<Layers>(layers)), ...);
  }
  Sequential(const Sequential&);
  Sequential(Sequential&& other) noexcept;
  Sequential& operator=(Sequential other) noexcept;
  ~Sequential();

  /// Appends a layer, named by its position: "0", "1", ... as torch.nn.Sequential names them.
  template <class L>
  void add(L&& layer) {
    add(next_name(), std::forward<L>(layer));
  }
  /// Appends a layer or the layers of a chain under a name; a built chain's parameters stay behind, as build() makes
  /// new ones.
  template <class L>
  void add(const std::string& name, L&& layer) {
    if constexpr (std::same_as<std::remove_cvref_t<L>, Sequential>) {
      splice(name, layer);
    } else {
      append(name, AnyLayer<T>(std::forward<L>(layer)));
    }
  }

  /// Infers all shapes from the shape of one sample, such as {48, 48, 1}, makes and initializes the parameters from
  /// `seed`, and returns the shape of one output. Throws ShapeError naming the layer that does not fit, ArgumentError
  /// for a layer's settings out of range or two parameters of one name; the network is then as before. Building again
  /// starts anew: with new parameters, nothing frozen.
  Shape build(const Shape& input, std::uint64_t seed = 0);
  bool built() const { return input_.rank() > 0; }

  /// Shape of one input sample (rank 0 before build) and of one output.
  const Shape& input_shape() const { return input_; }
  const Shape& output_shape() const { return nodes_.empty() ? input_ : nodes_.back().output.shape; }
  /// Shape of one sample behind the first `count` layers.
  const Shape& shape_after(index_t count) const { return count == 0 ? input_ : node(count - 1).output.shape; }

  index_t layer_count() const { return static_cast<index_t>(nodes_.size()); }
  const std::string& layer_name(index_t i) const { return node(i).name; }
  std::string_view layer_kind(index_t i) const { return node(i).layer.kind(); }
  AnyLayer<T>& layer(index_t i) { return nodes_[static_cast<std::size_t>(i)].layer; }

  std::span<Parameter<P>> parameters() { return parameters_; }
  std::span<const Parameter<P>> parameters() const { return parameters_; }
  /// The parameter of that name. Throws ArgumentError if there is none.
  Parameter<P>& parameter(std::string_view name);
  /// Number of trained values (statistics not counted).
  index_t parameter_count() const;

  /// Freezes the layer or parameter of that name and everything below it; "" is the whole network. What is frozen does
  /// not change by a bit in training: parameters are left out of gradients and optimizer, normalization keeps and uses
  /// its stored statistics (also if they alone are frozen), dropout is off. Throws ArgumentError if nothing has that
  /// name. See docs/freezing.md.
  void freeze(std::string_view name) { set_frozen(name, true); }
  /// Undoes freeze for that name.
  void unfreeze(std::string_view name) { set_frozen(name, false); }
  /// Number of leading layers that are frozen or, having nothing to train and nothing random, may as well be: their
  /// outputs are the features that training can cache.
  index_t frozen_prefix() const;
  /// Names of the frozen layers and parameters, which freeze() gives back.
  std::vector<std::string> frozen_names() const;

  /// Inference: y (batch, ...output), which must not overlap x, from x (batch, ...input) over `range`. Allocates
  /// nothing once `workspace` has seen this batch size. Throws ShapeError if x or y do not fit.
  void infer(TensorView<const T> x, TensorView<T> y, Workspace& workspace, Range range = {},
             Observer<T>* observer = nullptr) const;
  /// Bytes of memory that infer_packed() wants for inputs of this shape.
  std::size_t packed_bytes(const Shape& x) const { return x.size() > 0 ? memory_of(x, 1, false).packed : 0; }
  /// Inference with parameters that are arranged for the kernels once: fills `packed` (64-byte aligned, packed_bytes of
  /// them), or takes what an earlier call with inputs of the same shape left there (`ready`), whatever the parameters
  /// are now. Prepared does this for its owner.
  void infer_packed(TensorView<const T> x, TensorView<T> y, Workspace& workspace, std::span<std::byte> packed,
                    bool ready) const;
  /// Inference into a new tensor.
  Tensor<T> infer(TensorView<const T> x, Workspace& workspace) const;

  /// Training forward over `range`. What backward needs stays in `workspace`. Random layers draw from (seed, step).
  void forward(TensorView<const T> x, TensorView<T> y, Workspace& workspace, std::uint64_t seed, std::uint64_t step,
               Range range = {}, Observer<T>* observer = nullptr) const;
  /// Training backward, after forward with the same arguments and nothing else done with `workspace` since. Assigns
  /// `gradients` (parallel to parameters(); empty views where none is wanted) and, unless empty, dx. Stops at the first
  /// layer that has a gradient to give. Call forward before every backward: gradients between layers are written over
  /// what it saved, where nothing reads that again. Throws ShapeError or ArgumentError where the arguments do not fit
  /// the network, the workspace has not seen such a forward, or what that saved has been written over.
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, Workspace& workspace, std::uint64_t seed, std::uint64_t step,
                Range range = {}) const;

  // The layer contract, for use inside combinators.

  Features setup(Features features, Setup& setup);

  Memory memory_of(const Shape& x, int threads, bool keep, Range range = {}) const;

  void run_forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass, Range range = {}) const;

  void run_backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                    Gradients<T> gradients, const Pass<T>& pass, Range range = {}) const;

  /// Marks the layers that `name` covers, inside combinators too; returns whether there were any.
  bool freeze_layers(std::string_view name, bool frozen);

 private:
  struct Node {
    std::string name;
    AnyLayer<T> layer;
    std::string full_name = {};  // with those of the combinators around it; set by setup
    bool frozen = false;
    bool frozen_statistics = false;  // any of them: the layer uses what is stored
    std::uint32_t stream = 0;
    std::size_t first_parameter = 0;  // counted from this chain's first
    std::size_t parameter_count = 0;
    Features output = {};
  };

  std::string next_name() const;
  void check_name(const std::string& name) const;
  void append(const std::string& name, AnyLayer<T> layer);
  void splice(const std::string& name, const Sequential& chain);

  const Node& node(index_t i) const { return nodes_[static_cast<std::size_t>(i)]; }
  index_t end_of(Range range) const { return range.last < 0 ? layer_count() : range.last; }
  Shape shape_before(index_t i, index_t batch) const { return node(i - 1).output.shape.with_batch(batch); }

  /// Layers behind a layer that it does the work of: a Relu, a max pooling behind that, or behind a Relu only the
  /// pooling. Results are those of all one after the other.
  struct Applied {
    bool relu = false, pool = false;
    index_t count() const { return index_t{relu} + index_t{pool}; }
  };
  /// What layer i would do, if it is not done by one in front itself.
  Applied applies(index_t i, index_t last) const;
  /// How far in front of layer i the one is that does its work; 0 if it is done by itself.
  index_t applied(index_t i, index_t first, index_t last) const;
  /// In inference, how many layers behind layer i a convolution could do the work of as it stores its results: a
  /// normalization, a Relu, a max pooling behind that; 0 if there are none or i is no such layer.
  index_t inferred_behind(index_t i, index_t last) const;
  /// Does that: `y` is what the last of the `behind` layers gives. False, with y in any state, where layer i cannot.
  bool infer_with(index_t i, index_t behind, TensorView<const T> x, TensorView<T> y, const Pass<T>& own,
                  const Pass<T>& whole) const;
  /// Whether what layer i gives is saved for the backward pass: not the last one's, nor what no layer looks at again.
  bool keeps_output(index_t i, index_t first, index_t last) const;
  /// Whether layer i, unless it is done by one in front, writes the gradient of its input over that input as it is
  /// saved, for nothing reads that again.
  bool overwrites(index_t i, index_t first, index_t last) const;
  /// Values of one sample in the largest output of a layer, those inside combinators included.
  index_t largest_output(Range range = {}) const;

  std::size_t saved_bytes(index_t i, const Shape& in, const Shape& out, index_t first, index_t last,
                          const Pass<T>& pass) const;
  /// What layer i, a pooling, saves.
  std::size_t pool_saved_bytes(index_t i, index_t batch, const Pass<T>& pass) const;

  /// The chains inside a combinator, to be read only.
  static std::vector<std::pair<std::string, Sequential*>> branches_of(const Node& n) {
    return const_cast<Node&>(n).layer.branches();
  }

  static bool wants_gradient(const Node& n, Gradients<T> gradients);

  /// What a whole pass needs: that of the layers, and views of all parameters.
  Memory pass_memory(const Shape& x, const Workspace& workspace, bool keep, Range range) const;

  /// The views are made for every pass, at the front of the scratch: between passes a user may assign other tensors.
  Pass<T> pass(Workspace& workspace, const Context& context, bool training, Observer<T>* observer) const;

  static Pass<T> inner(const Pass<T>& outer, const Node& n, std::span<std::byte> saved, std::span<std::byte> scratch);

  void check(const Shape& x, const Shape& y, Range range) const;

  void set_frozen(std::string_view name, bool frozen);

  /// Settles which layers are frozen: one with parameters when all of them are, a combinator when everything in it is.
  /// Other layers keep the mark that they were given. `own` are this chain's parameters.
  void sync_frozen_layers(std::span<const Parameter<P>> own);
  std::size_t own_parameter_count() const {
    return nodes_.empty() ? 0 : nodes_.back().first_parameter + nodes_.back().parameter_count;
  }

  /// Whether training gives the same output as inference and changes nothing.
  static bool is_fixed(const Node& n);

  static void collect_frozen(const Node& n, std::vector<std::string>& names);

  static void check_names(const std::vector<Declaration>& declarations);

  void check_backward(const Shape& x, const Shape& y, const Shape& dy, const Shape& dx, Gradients<T> gradients) const;

  std::vector<Node> nodes_;
  Shape input_;
  std::vector<Parameter<P>> parameters_;
  std::vector<Shape> shapes_;  // of parameters_, as they were built
  index_t top_level_ = 0;
};

}  // namespace mien

#include "mien/nn/impl/sequential.hpp"

// Sequential: a chain of layers, and the network that a user builds, trains and saves.
#pragma once

#include <algorithm>
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
           (sizeof...(Layers) == 1 && !(std::same_as<std::remove_cvref_t<Layers>, Sequential> || ...)))
      Sequential(Layers&&... layers) {
    (add(std::forward<Layers>(layers)), ...);
  }
  Sequential(const Sequential&) = default;
  Sequential(Sequential&& other) noexcept
      : nodes_(std::move(other.nodes_)),
        input_(std::exchange(other.input_, Shape{})),
        parameters_(std::move(other.parameters_)),
        shapes_(std::move(other.shapes_)),
        top_level_(std::exchange(other.top_level_, 0)) {}
  Sequential& operator=(Sequential other) noexcept {
    nodes_ = std::move(other.nodes_);
    input_ = other.input_;
    parameters_ = std::move(other.parameters_);
    shapes_ = std::move(other.shapes_);
    top_level_ = other.top_level_;
    return *this;
  }
  ~Sequential() = default;

  /// Appends a layer, named by its position: "0", "1", ... as torch.nn.Sequential names them.
  template <class L>
  void add(L&& layer) {
    add(std::to_string(top_level_), std::forward<L>(layer));
  }
  /// Appends a layer or a chain under a name.
  template <class L>
  void add(const std::string& name, L&& layer) {
    if (name.empty()) fail<ArgumentError>("a layer needs a name");
    if (built()) fail<ArgumentError>("layer '" + name + "' added to a network that is already built");
    for (const Node& node : nodes_) {
      if (covers(name, node.name) || covers(node.name, name)) fail<ArgumentError>("two layers named '" + name + "'");
    }
    if constexpr (std::same_as<std::remove_cvref_t<L>, Sequential>) {
      for (const Node& node : layer.nodes_) nodes_.push_back({name + "." + node.name, node.layer});
    } else if constexpr (std::same_as<std::remove_cvref_t<L>, AnyLayer<T>>) {
      nodes_.push_back({name, std::forward<L>(layer)});
    } else {
      nodes_.push_back({name, AnyLayer<T>(std::forward<L>(layer))});
    }
    ++top_level_;
  }

  /// Infers all shapes from the shape of one sample, such as {48, 48, 1}, makes and initializes the parameters from
  /// `seed`, and returns the shape of one output. Throws ShapeError naming the layer that does not fit, ArgumentError
  /// for a layer's settings out of range or two parameters of one name; the network is then as before. Building again
  /// starts anew: with new parameters, nothing frozen.
  Shape build(const Shape& input, std::uint64_t seed = 0) {
    if (nodes_.empty()) fail<ArgumentError>("a network needs at least one layer");
    if (input.rank() < 1 || input.rank() >= Shape::max_rank || input.size() < 1) {
      fail<ShapeError>("a network is built for samples of rank 1 to 4 with positive extents, got " + input.to_string());
    }
    Sequential result;
    result.nodes_ = nodes_;
    result.top_level_ = top_level_;
    Setup setup;
    const Features output = result.setup({input, {}}, setup);
    check_names(setup.declarations);
    for (std::size_t i = 0; i < setup.declarations.size(); ++i) {
      const Declaration& d = setup.declarations[i];
      result.parameters_.push_back({d.name, d.role, d.columns, false, Tensor<P>(d.shape)});
      result.shapes_.push_back(d.shape);
      d.initializer.fill(result.parameters_.back().value.view(), d.fan_in, d.fan_out, {seed, Stream::initialize, i});
    }
    result.input_ = input;
    *this = std::move(result);
    return output.shape;
  }
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
  Parameter<P>& parameter(std::string_view name) {
    for (Parameter<P>& p : parameters_)
      if (p.name == name) return p;
    fail<ArgumentError>("the network has no parameter '" + std::string(name) + "'");
  }
  /// Number of trained values (statistics not counted).
  index_t parameter_count() const {
    index_t count = 0;
    for (const Parameter<P>& p : parameters_) count += p.role == Role::statistic ? 0 : p.value.size();
    return count;
  }

  /// Freezes the layer or parameter of that name and everything below it; "" is the whole network. What is frozen does
  /// not change by a bit in training: parameters are left out of gradients and optimizer, normalization keeps and uses
  /// its stored statistics, dropout is off. Throws ArgumentError if nothing has that name. See docs/freezing.md.
  void freeze(std::string_view name) { set_frozen(name, true); }
  /// Undoes freeze for that name.
  void unfreeze(std::string_view name) { set_frozen(name, false); }
  /// Number of leading layers that are frozen or, having nothing to train and nothing random, may as well be: their
  /// outputs are the features that training can cache.
  index_t frozen_prefix() const {
    index_t i = 0;
    while (i < layer_count() && is_fixed(node(i))) ++i;
    return i;
  }
  /// Names of the frozen layers and parameters, which freeze() gives back.
  std::vector<std::string> frozen_names() const {
    std::vector<std::string> names;
    for (const Node& n : nodes_) collect_frozen(n, names);
    for (const Parameter<P>& p : parameters_) {
      bool covered = false;
      for (const std::string& name : names) covered = covered || covers(name, p.name);
      if (p.frozen && !covered) names.push_back(p.name);
    }
    return names;
  }

  /// Inference: y (batch, ...output) from x (batch, ...input) over `range`. Allocates nothing once `workspace` has seen
  /// this batch size. Throws ShapeError if x or y do not fit.
  void infer(TensorView<const T> x, TensorView<T> y, Workspace& workspace, Range range = {},
             Observer<T>* observer = nullptr) const {
    check(x.shape(), y.shape(), range);
    if (x.shape()[0] == 0) return;
    workspace.reserve(pass_memory(x.shape(), workspace, false, range));
    const Context context{&workspace.threads()};
    run_forward(x, y, pass(workspace, context, false, observer), range);
  }
  /// Bytes of memory that infer_packed() wants for inputs of this shape.
  std::size_t packed_bytes(const Shape& x) const { return memory_of(x, 1, false).packed; }
  /// Inference with parameters that are arranged for the kernels once: fills `packed` (64-byte aligned, packed_bytes of
  /// them), or takes what an earlier call with inputs of the same shape left there (`ready`), whatever the parameters
  /// are now. Prepared does this for its owner.
  void infer_packed(TensorView<const T> x, TensorView<T> y, Workspace& workspace, std::span<std::byte> packed,
                    bool ready) const {
    check(x.shape(), y.shape(), {});
    if (x.shape()[0] == 0) return;
    if (packed.size() < packed_bytes(x.shape())) fail<ArgumentError>("infer_packed: too little memory is given");
    workspace.reserve(pass_memory(x.shape(), workspace, false, {}));
    const Context context{&workspace.threads()};
    Pass<T> whole = pass(workspace, context, false, nullptr);
    whole.packed = packed;
    whole.packed_ready = ready;
    run_forward(x, y, whole);
  }
  /// Inference into a new tensor.
  Tensor<T> infer(TensorView<const T> x, Workspace& workspace) const {
    if (!built() || x.shape().rank() == 0) check(x.shape(), x.shape(), {});
    Tensor<T> y(output_shape().with_batch(x.shape()[0]));
    infer(x, y.view(), workspace);
    return y;
  }

  /// Training forward over `range`. What backward needs stays in `workspace`. Random layers draw from (seed, step).
  void forward(TensorView<const T> x, TensorView<T> y, Workspace& workspace, std::uint64_t seed, std::uint64_t step,
               Range range = {}, Observer<T>* observer = nullptr) const {
    check(x.shape(), y.shape(), range);
    if (x.shape()[0] == 0) fail<ShapeError>("training needs at least one sample");
    workspace.reserve(pass_memory(x.shape(), workspace, true, range));
    const Context context{&workspace.threads(), seed, step};
    run_forward(x, y, pass(workspace, context, true, observer), range);
  }
  /// Training backward, after forward with the same arguments and nothing else done with `workspace` since. Assigns
  /// `gradients` (parallel to parameters(); empty views where none is wanted) and, unless empty, dx. Stops at the first
  /// layer that has a gradient to give. Throws ShapeError or ArgumentError where the arguments do not fit the network
  /// or the workspace has not seen such a forward.
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, Workspace& workspace, std::uint64_t seed, std::uint64_t step,
                Range range = {}) const {
    check(x.shape(), y.shape(), range);
    check_backward(x.shape(), y.shape(), dy.shape(), dx ? dx.shape() : x.shape(), gradients);
    const Memory needed = pass_memory(x.shape(), workspace, true, range);
    if (workspace.saved().size() < needed.saved || workspace.scratch().size() < needed.scratch) {
      fail<ArgumentError>("backward needs a forward of the same batch before it, with the same workspace");
    }
    const Context context{&workspace.threads(), seed, step};
    run_backward(x, y, dy, dx, gradients, pass(workspace, context, true, nullptr), range);
  }

  // The layer contract, for use inside combinators.

  Features setup(Features features, Setup& setup) {
    const std::string outer = setup.layer;
    const std::size_t base = setup.declarations.size();
    for (Node& n : nodes_) {
      setup.layer = outer.empty() ? n.name : outer + "." + n.name;
      n.full_name = setup.layer;
      n.frozen = false;
      n.stream = setup.streams++;
      n.first_parameter = setup.declarations.size() - base;
      features = n.layer.setup(features, setup);
      n.parameter_count = setup.declarations.size() - base - n.first_parameter;
      n.output = features;
    }
    setup.layer = outer;
    return features;
  }

  Memory memory_of(const Shape& x, int threads, bool keep, Range range = {}) const {
    Memory total;
    std::size_t largest_scratch = 0, largest_activation = 0;
    Shape in = x;
    const index_t last = end_of(range);
    for (index_t i = range.first; i < last; ++i) {
      const Shape out = node(i).output.shape.with_batch(x[0]);
      const Memory m = node(i).layer.memory(in, out, threads, keep);
      if (keep && i + 1 < last) total.saved += bytes_of<T>(out.size());
      total.saved += keep ? padded(m.saved) : 0;
      total.packed += padded(m.packed);
      largest_scratch = std::max(largest_scratch, padded(m.scratch) + (keep ? 0 : padded(m.saved)));
      if (i + 1 < last) largest_activation = std::max(largest_activation, bytes_of<T>(out.size()));
      in = out;
    }
    total.scratch = largest_scratch + 2 * largest_activation;
    return total;
  }

  void run_forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass, Range range = {}) const {
    Arena saved(pass.saved), scratch(pass.scratch), packed(pass.packed);
    const index_t batch = x.shape()[0], last = end_of(range);
    T* buffers[2] = {nullptr, nullptr};
    if (!pass.keep) {
      index_t largest = 0;
      for (index_t i = range.first; i + 1 < last; ++i) largest = std::max(largest, node(i).output.shape.size() * batch);
      for (T*& buffer : buffers) buffer = scratch.take<T>(largest);
    }
    if (range.first == last) std::copy_n(x.data(), x.size(), y.data());
    for (index_t i = range.first; i < last; ++i) {
      const Node& n = node(i);
      TensorView<T> out = y;
      const Shape shape = n.output.shape.with_batch(batch);
      if (i + 1 < last) out = {pass.keep ? saved.take<T>(shape.size()) : buffers[i % 2], shape};
      const Memory m = n.layer.memory(x.shape(), shape, pass.threads().count(), pass.keep);
      Arena rest(scratch.rest());
      const auto kept = pass.keep ? saved.take_bytes(m.saved) : rest.take_bytes(m.saved);
      Pass<T> own = inner(pass, n, kept, rest.rest());
      if (!pass.packed.empty()) own.packed = packed.take_bytes(m.packed).first(m.packed);
      // An observer wants to see every layer's output.
      own.relu = !pass.observer && applies_relu(i, last);
      if (own.relu) {
        // The Relu's output is written at once; what would lie between the two is never touched.
        ++i;
        out = i + 1 < last ? TensorView<T>{pass.keep ? saved.take<T>(shape.size()) : buffers[i % 2], shape} : y;
      }
      n.layer.forward(x, out, own);
      if (pass.observer) pass.observer->output(n.full_name, n.layer.kind(), out);
      x = out;
    }
  }

  void run_backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                    Gradients<T> gradients, const Pass<T>& pass, Range range = {}) const {
    const index_t batch = x.shape()[0], last = end_of(range);
    index_t lowest = range.first;
    if (!dx) {
      while (lowest < last && !wants_gradient(node(lowest), gradients)) ++lowest;
    }
    if (range.first == last && dx) std::copy_n(dy.data(), dy.size(), dx.data());
    Arena scratch(pass.scratch);
    index_t largest = 0;
    std::size_t offset = 0;  // of what is saved behind layer i
    for (index_t i = range.first; i < last; ++i) {
      const Shape out = node(i).output.shape.with_batch(batch);
      if (i + 1 < last) largest = std::max(largest, out.size());
      offset += saved_bytes(i, i == range.first ? x.shape() : shape_before(i, batch), out, last, pass);
    }
    T* buffers[2] = {scratch.take<T>(largest), scratch.take<T>(largest)};
    for (index_t i = last - 1; i >= lowest; --i) {
      const Node& n = node(i);
      const Shape in_shape = i == range.first ? x.shape() : shape_before(i, batch);
      const Shape out_shape = n.output.shape.with_batch(batch);
      offset -= saved_bytes(i, in_shape, out_shape, last, pass);
      Arena own(pass.saved.subspan(offset));
      TensorView<const T> out = y;
      if (i + 1 < last) out = own.tensor<T>(out_shape);
      TensorView<const T> in = x;
      if (i > range.first) {
        const Shape before = i - 1 == range.first ? x.shape() : shape_before(i - 1, batch);
        in = Arena(pass.saved.subspan(offset - saved_bytes(i - 1, before, in_shape, last, pass)))
                 .template tensor<T>(in_shape);
      }
      if (i > lowest && applies_relu(i - 1, last)) continue;  // done by the layer in front, with the same dy
      TensorView<T> below = i == lowest ? dx : TensorView<T>{buffers[i % 2], in_shape};
      const Memory m = n.layer.memory(in_shape, out_shape, pass.threads().count(), true);
      Pass<T> layer_pass = inner(pass, n, own.take_bytes(m.saved), scratch.rest());
      layer_pass.relu = applies_relu(i, last);
      n.layer.backward(in, out, dy, below, gradients.subspan(n.first_parameter, n.parameter_count), layer_pass);
      dy = below;
    }
  }

  /// Marks the layers that `name` covers, inside combinators too; returns whether there were any.
  bool freeze_layers(std::string_view name, bool frozen) {
    bool found = false;
    for (Node& n : nodes_) {
      if (covers(name, n.full_name)) {
        n.frozen = frozen;
        found = true;
      }
      for (auto& [branch, chain] : n.layer.branches()) found = chain->freeze_layers(name, frozen) || found;
    }
    return found;
  }

 private:
  struct Node {
    std::string name;
    AnyLayer<T> layer;
    std::string full_name = {};  // with those of the combinators around it; set by setup
    bool frozen = false;
    std::uint32_t stream = 0;
    std::size_t first_parameter = 0;  // counted from this chain's first
    std::size_t parameter_count = 0;
    Features output = {};
  };

  const Node& node(index_t i) const { return nodes_[static_cast<std::size_t>(i)]; }
  index_t end_of(Range range) const { return range.last < 0 ? layer_count() : range.last; }
  Shape shape_before(index_t i, index_t batch) const { return node(i - 1).output.shape.with_batch(batch); }

  /// Whether layer i does the work of a Relu behind it. Results are those of the two one after the other.
  bool applies_relu(index_t i, index_t last) const {
    return i + 1 < last && node(i).layer.fuses_relu() && node(i + 1).layer.kind() == "Relu";
  }

  std::size_t saved_bytes(index_t i, const Shape& in, const Shape& out, index_t last, const Pass<T>& pass) const {
    return padded(node(i).layer.memory(in, out, pass.threads().count(), true).saved) +
           (i + 1 < last ? bytes_of<T>(out.size()) : 0);
  }

  static bool wants_gradient(const Node& n, Gradients<T> gradients) {
    for (const auto& g : gradients.subspan(n.first_parameter, n.parameter_count))
      if (g) return true;
    return false;
  }

  /// What a whole pass needs: that of the layers, and views of all parameters.
  Memory pass_memory(const Shape& x, const Workspace& workspace, bool keep, Range range) const {
    Memory memory = memory_of(x, workspace.threads().count(), keep, range);
    memory.scratch += bytes_of<TensorView<const P>>(static_cast<index_t>(parameters_.size()));
    return memory;
  }

  /// The views are made for every pass, at the front of the scratch: between passes a user may assign other tensors.
  Pass<T> pass(Workspace& workspace, const Context& context, bool training, Observer<T>* observer) const {
    Arena scratch(workspace.scratch());
    auto* views = scratch.take<TensorView<const P>>(static_cast<index_t>(parameters_.size()));
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter<P>& p = parameters_[i];
      if (p.value.shape() != shapes_[i]) {
        fail<ShapeError>("parameter '" + p.name + "' is " + p.value.shape().to_string() + ", expected " +
                         shapes_[i].to_string());
      }
      std::construct_at(views + i, p.value.view());
    }
    return {.context = &context,
            .training = training,
            .keep = training,
            .stream = 0,
            .parameters = {views, parameters_.size()},
            .saved = workspace.saved(),
            .scratch = scratch.rest(),
            .packed = {},
            .observer = observer};
  }

  static Pass<T> inner(const Pass<T>& outer, const Node& n, std::span<std::byte> saved, std::span<std::byte> scratch) {
    Pass<T> result = outer;
    result.training = outer.training && !n.frozen;
    result.stream = n.stream;
    result.parameters = outer.parameters.subspan(n.first_parameter, n.parameter_count);
    result.saved = saved;
    result.scratch = scratch;
    result.packed = {};
    return result;
  }

  void check(const Shape& x, const Shape& y, Range range) const {
    if (!built()) fail<ArgumentError>("the network is not built: call build(shape of one sample) first");
    const index_t last = end_of(range);
    if (range.first < 0 || range.first > last || last > layer_count()) {
      fail<ArgumentError>("layers " + std::to_string(range.first) + " to " + std::to_string(last) + " of " +
                          std::to_string(layer_count()));
    }
    if (x.rank() == 0 || x != shape_after(range.first).with_batch(x[0])) {
      fail<ShapeError>("the network takes (batch, ...) of " + shape_after(range.first).to_string() + ", got " +
                       x.to_string());
    }
    if (y != shape_after(last).with_batch(x[0])) {
      fail<ShapeError>("the network gives " + shape_after(last).with_batch(x[0]).to_string() + ", asked for " +
                       y.to_string());
    }
  }

  void set_frozen(std::string_view name, bool frozen) {
    if (!built()) fail<ArgumentError>("build the network before freezing parts of it");
    bool found = freeze_layers(name, frozen);
    for (Parameter<P>& p : parameters_) {
      if (!covers(name, p.name)) continue;
      p.frozen = frozen;
      found = true;
    }
    if (!found) fail<ArgumentError>("nothing in the network is named '" + std::string(name) + "'");
    sync_frozen_layers(parameters_);
  }

  /// Settles which layers are frozen: one with parameters when all of them are, a combinator when everything in it is.
  /// Other layers keep the mark that they were given. `own` are this chain's parameters.
  void sync_frozen_layers(std::span<const Parameter<P>> own) {
    for (Node& n : nodes_) {
      auto rest = own.subspan(n.first_parameter, n.parameter_count);
      bool any = !rest.empty(), all = true;
      for (const Parameter<P>& p : rest) all = all && p.frozen;
      for (auto& [branch, chain] : n.layer.branches()) {
        chain->sync_frozen_layers(rest);
        rest = rest.subspan(chain->own_parameter_count());
        for (const Node& inner : chain->nodes_) all = all && inner.frozen;
        any = any || !chain->nodes_.empty();
      }
      if (any) n.frozen = all;
    }
  }
  std::size_t own_parameter_count() const {
    return nodes_.empty() ? 0 : nodes_.back().first_parameter + nodes_.back().parameter_count;
  }

  /// Whether training gives the same output as inference and changes nothing.
  static bool is_fixed(const Node& n) {
    if (n.frozen) return true;
    const auto branches = const_cast<Node&>(n).layer.branches();
    if (branches.empty()) return n.parameter_count == 0 && !n.layer.is_random();
    for (auto& [branch, chain] : branches)
      for (const Node& inner : chain->nodes_)
        if (!is_fixed(inner)) return false;
    return true;
  }

  static void collect_frozen(const Node& n, std::vector<std::string>& names) {
    if (n.frozen) {
      names.push_back(n.full_name);
      return;
    }
    for (auto& [branch, chain] : const_cast<Node&>(n).layer.branches())
      for (const Node& inner : chain->nodes_) collect_frozen(inner, names);
  }

  static void check_names(const std::vector<Declaration>& declarations) {
    std::vector<std::string_view> names;
    for (const Declaration& d : declarations) names.push_back(d.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      fail<ArgumentError>("two parameters of the network are named '" + std::string(*twice) +
                          "': name the layers of its branches apart");
    }
  }

  void check_backward(const Shape& x, const Shape& y, const Shape& dy, const Shape& dx, Gradients<T> gradients) const {
    if (x[0] == 0) fail<ShapeError>("training needs at least one sample");
    if (dy != y || dx != x) {
      fail<ShapeError>("backward: dy is " + dy.to_string() + " and dx " + dx.to_string() + ", expected " +
                       y.to_string() + " and " + x.to_string());
    }
    if (gradients.size() != parameters_.size()) {
      fail<ArgumentError>("backward: " + std::to_string(gradients.size()) + " gradients for " +
                          std::to_string(parameters_.size()) + " parameters");
    }
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i] && gradients[i].size() != parameters_[i].value.size()) {
        fail<ShapeError>("backward: the gradient of '" + parameters_[i].name + "' is " +
                         gradients[i].shape().to_string() + ", expected " + parameters_[i].value.shape().to_string());
      }
    }
  }

  std::vector<Node> nodes_;
  Shape input_;
  std::vector<Parameter<P>> parameters_;
  std::vector<Shape> shapes_;  // of parameters_, as they were built
  index_t top_level_ = 0;
};

}  // namespace mien

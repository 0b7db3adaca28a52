// Reading cascades from OpenCV's XML files, in both of their formats. Files are not trusted.
#pragma once

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "cascade/model.hpp"

namespace mien::cascade {

/// Largest file, most tags and deepest nesting that are read.
inline constexpr std::size_t max_xml_bytes = std::size_t{16} << 20;
inline constexpr std::size_t max_xml_tags = 1'000'000;
inline constexpr int max_xml_depth = 32;

namespace detail {

/// Walks one cascade document. Every error names the file and the line.
class XmlReader {
 public:
  XmlReader(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  CascadeData read() {
    parse();
    const pugi::xml_node storage = document_.document_element();
    if (std::string_view(storage.name()) != "opencv_storage") {
      error(storage, "root element <" + std::string(storage.name()).substr(0, 64) + "> is not <opencv_storage>");
    }
    // The cascade is the first child, whatever its name: files in use call it many things.
    const pugi::xml_node cascade = first_element(storage);
    if (!cascade) error(storage, "<opencv_storage> is empty");
    if (cascade.child("stageType") || cascade.child("featureType")) {
      read_new(cascade);
    } else if (cascade.child("size") && cascade.child("stages")) {
      read_old(cascade);
    } else {
      error(cascade,
            "neither a cascade of the new format (stageType, featureType, features) nor of the old one (size)");
    }
    return std::move(data_);
  }

 private:
  [[noreturn]] void error(std::ptrdiff_t offset, const std::string& what) const {
    const auto end = text_.begin() + std::clamp<std::ptrdiff_t>(offset, 0, static_cast<std::ptrdiff_t>(text_.size()));
    const auto line = 1 + std::count(text_.begin(), end, '\n');
    fail<FormatError>(std::string(name_) + ", line " + std::to_string(line) + ": " + what);
  }
  [[noreturn]] void error(const pugi::xml_node& node, const std::string& what) const {
    error(node.offset_debug(), what);
  }

  void parse() {
    if (text_.size() > max_xml_bytes) error(0, "cascade file of more than 16 MiB");
    if (text_.find('\0') != std::string_view::npos) {
      error(static_cast<std::ptrdiff_t>(text_.find('\0')), "zero byte in an XML file");
    }
    if (static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '<')) > max_xml_tags) {
      error(0, "cascade file of more than a million tags");
    }
    // Minimal: no entity is expanded, comments and declarations are skipped. A DOCTYPE is read only to be refused.
    const auto status = document_.load_buffer(text_.data(), text_.size(), pugi::parse_minimal | pugi::parse_doctype,
                                              pugi::encoding_utf8);
    if (!status) error(status.offset, std::string("not well-formed XML: ") + status.description());
    for (const pugi::xml_node& node : document_.children()) {
      if (node.type() == pugi::node_doctype) error(node, "DOCTYPE in a cascade file");
    }
    // Iterative, as the nesting is what is being limited.
    int depth = 0;
    for (pugi::xml_node node = document_.first_child(); node;) {
      if (depth >= max_xml_depth) error(node, "elements nested more than " + std::to_string(max_xml_depth) + " deep");
      if (pugi::xml_node child = node.first_child()) {
        node = child;
        ++depth;
        continue;
      }
      while (node && !node.next_sibling()) {
        node = node.parent();
        --depth;
      }
      if (node) node = node.next_sibling();
    }
  }

  static pugi::xml_node first_element(const pugi::xml_node& parent) {
    pugi::xml_node node = parent.first_child();
    while (node && node.type() != pugi::node_element) node = node.next_sibling();
    return node;
  }

  pugi::xml_node required(const pugi::xml_node& parent, const char* name) const {
    const pugi::xml_node node = parent.child(name);
    if (!node) error(parent, std::string("<") + name + "> is missing");
    return node;
  }

  static std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
  }

  /// The white-space separated words of an element; comments may stand between them.
  class Words {
   public:
    Words(const XmlReader& reader, const pugi::xml_node& element)
        : reader_(reader), element_(element), piece_(element.first_child()) {
      if (piece_) rest_ = piece_.value();
      reader.check_text(piece_, element);
    }

    bool more() {
      for (;;) {
        const std::size_t first = rest_.find_first_not_of(" \t\r\n");
        if (first != std::string_view::npos) {
          rest_.remove_prefix(first);
          return true;
        }
        if (!piece_) return false;
        piece_ = piece_.next_sibling();
        reader_.check_text(piece_, element_);
        rest_ = piece_ ? std::string_view(piece_.value()) : std::string_view();
      }
    }

    std::int32_t integer() { return number<std::int32_t>("an integer"); }

    /// Decimal to double to float: two roundings, as the files' writer and OpenCV's reader have it.
    double real() { return number<double>("a number"); }
    float real_float() {
      const double value = real();
      // Also false for NaN. What rounds up to infinity is beyond the largest float by half its last place.
      if (!(value < 3.4028235677973366e38 && value > -3.4028235677973366e38)) {
        reader_.error(element_, "a number that does not fit a float");
      }
      return static_cast<float>(value);
    }

    void end() {
      if (more()) reader_.error(element_, "more values than expected in <" + std::string(element_.name()) + ">");
    }

   private:
    template <class T>
    T number(const char* kind) {
      if (!more()) {
        reader_.error(element_, std::string("<") + element_.name() + "> ends where " + kind + " is expected");
      }
      const std::string_view word = rest_.substr(0, rest_.find_first_of(" \t\r\n"));
      T value{};
      const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
      if (status != std::errc() || end != word.data() + word.size()) {
        reader_.error(element_, "\"" + std::string(word.substr(0, 64)) + "\" is not " + kind + " in range");
      }
      rest_.remove_prefix(word.size());
      return value;
    }

    const XmlReader& reader_;
    pugi::xml_node element_;
    pugi::xml_node piece_;
    std::string_view rest_;
  };

  void check_text(const pugi::xml_node& piece, const pugi::xml_node& element) const {
    if (piece && piece.type() != pugi::node_pcdata) {
      error(element, "<" + std::string(element.name()).substr(0, 64) + "> holds elements where numbers are expected");
    }
  }

  std::int32_t integer(const pugi::xml_node& parent, const char* name) const {
    Words words(*this, required(parent, name));
    const std::int32_t value = words.integer();
    words.end();
    return value;
  }

  float real_float(const pugi::xml_node& parent, const char* name) const {
    Words words(*this, required(parent, name));
    const float value = words.real_float();
    words.end();
    return value;
  }

  /// Window sides are checked before the features that refer to them are read.
  void check_window(const pugi::xml_node& node) const {
    const auto [width, height] = data_.window;
    if (width < 1 || height < 1 || width > Cascade::max_window || height > Cascade::max_window) {
      error(node, "window of " + std::to_string(width) + "x" + std::to_string(height) + " pixels: sides must be 1 to " +
                      std::to_string(Cascade::max_window));
    }
  }

  /// OpenCV lowers every stage threshold by this when it reads one, so that rounding cannot reject its own training
  /// samples.
  static float lowered(float threshold) { return threshold - 1e-5F; }

  void check_limits(const pugi::xml_node& node) const {
    if (data_.stages.size() > Cascade::max_stages) {
      error(node, "more than " + std::to_string(Cascade::max_stages) + " stages");
    }
    if (data_.nodes.size() > Cascade::max_nodes || data_.haar.size() > Cascade::max_nodes ||
        data_.lbp.size() > Cascade::max_nodes) {
      error(node, "more than " + std::to_string(Cascade::max_nodes) + " nodes or features");
    }
  }

  // --- the new format ---

  void read_new(const pugi::xml_node& cascade) {
    if (trimmed(required(cascade, "stageType").child_value()) != "BOOST") {
      error(cascade, "stageType is not BOOST: no other kind is known");
    }
    const std::string_view kind = trimmed(required(cascade, "featureType").child_value());
    if (kind != "HAAR" && kind != "LBP") {
      error(cascade, "featureType \"" + std::string(kind.substr(0, 64)) + "\": only HAAR and LBP are evaluated");
    }
    data_.kind = kind == "HAAR" ? FeatureKind::haar : FeatureKind::lbp;
    data_.window = {integer(cascade, "width"), integer(cascade, "height")};
    check_window(cascade);
    const pugi::xml_node parameters = required(cascade, "featureParams");
    const std::int32_t categories = integer(parameters, "maxCatCount");
    if (categories != (data_.kind == FeatureKind::haar ? 0 : 256)) {
      error(parameters, "maxCatCount " + std::to_string(categories) + ": Haar features have 0, LBP features 256");
    }
    if (const pugi::xml_node count = cascade.child("stageNum")) {
      declared_stages_ = Words(*this, count).integer();
    }
    for (const pugi::xml_node& stage : required(cascade, "stages").children()) read_new_stage(stage);
    if (declared_stages_ >= 0 && static_cast<std::size_t>(declared_stages_) != data_.stages.size()) {
      error(cascade, "stageNum says " + std::to_string(declared_stages_) + " stages, the file has " +
                         std::to_string(data_.stages.size()));
    }
    for (const pugi::xml_node& feature : required(cascade, "features").children()) {
      if (data_.kind == FeatureKind::haar) {
        read_haar(feature);
      } else {
        Words words(*this, required(feature, "rect"));
        data_.lbp.push_back({read_rect(words)});
        words.end();
        check_rect(feature, data_.lbp.back().cell);
      }
      check_limits(feature);
    }
  }

  void read_new_stage(const pugi::xml_node& node) {
    Stage stage;
    stage.first_tree = static_cast<std::int32_t>(data_.trees.size());
    stage.threshold = lowered(real_float(node, "stageThreshold"));
    const pugi::xml_node trees = required(node, "weakClassifiers");
    for (const pugi::xml_node& tree : trees.children()) {
      read_new_tree(tree);
      ++stage.trees;
      check_limits(tree);
    }
    if (stage.trees == 0) error(trees, "stage without trees");
    data_.stages.push_back(stage);
    check_limits(node);
  }

  void read_new_tree(const pugi::xml_node& node) {
    Tree tree{static_cast<std::int32_t>(data_.nodes.size()), 0, static_cast<std::int32_t>(data_.leaves.size())};
    Words words(*this, required(node, "internalNodes"));
    while (words.more()) {
      Node inner;
      inner.left = words.integer();
      inner.right = words.integer();
      inner.feature = words.integer();
      if (data_.kind == FeatureKind::haar) {
        inner.threshold = words.real_float();
      } else {
        for (std::uint32_t& word : inner.subset) word = static_cast<std::uint32_t>(words.integer());
      }
      data_.nodes.push_back(inner);
      ++tree.nodes;
      if (data_.nodes.size() > Cascade::max_nodes) check_limits(node);
    }
    if (tree.nodes == 0) error(node, "tree without nodes");
    Words leaves(*this, required(node, "leafValues"));
    for (std::int32_t i = 0; i <= tree.nodes; ++i) data_.leaves.push_back(leaves.real_float());
    leaves.end();
    check_tree(node, tree);
    data_.trees.push_back(tree);
  }

  // --- the old format ---

  void read_old(const pugi::xml_node& cascade) {
    Words size(*this, required(cascade, "size"));
    const std::int32_t width = size.integer();
    data_.window = {width, size.integer()};
    size.end();
    check_window(cascade);
    for (const pugi::xml_node& stage : required(cascade, "stages").children()) {
      // <parent> and <next> are not looked at: OpenCV runs the stages in the order of the file.
      Stage read;
      read.first_tree = static_cast<std::int32_t>(data_.trees.size());
      read.threshold = lowered(real_float(stage, "stage_threshold"));
      for (const pugi::xml_node& tree : required(stage, "trees").children()) {
        read_old_tree(tree);
        ++read.trees;
        check_limits(tree);
      }
      if (read.trees == 0) error(stage, "stage without trees");
      data_.stages.push_back(read);
      check_limits(stage);
    }
  }

  void read_old_tree(const pugi::xml_node& node) {
    Tree tree{static_cast<std::int32_t>(data_.nodes.size()), 0, static_cast<std::int32_t>(data_.leaves.size())};
    std::int32_t leaves = 0;
    const auto child = [&](const pugi::xml_node& inner, const char* value, const char* index) -> std::int32_t {
      if (inner.child(value)) {
        data_.leaves.push_back(real_float(inner, value));
        return -(leaves++);
      }
      const std::int32_t target = integer(inner, index);
      if (target <= 0) error(inner, std::string(index) + " must be a later node of the tree");
      return target;
    };
    for (const pugi::xml_node& inner : node.children()) {
      Node read;
      read.feature = static_cast<std::int32_t>(data_.haar.size());
      read_haar(required(inner, "feature"));
      read.threshold = real_float(inner, "threshold");
      read.left = child(inner, "left_val", "left_node");
      read.right = child(inner, "right_val", "right_node");
      data_.nodes.push_back(read);
      ++tree.nodes;
      if (data_.nodes.size() > Cascade::max_nodes) check_limits(inner);
    }
    if (tree.nodes == 0) error(node, "tree without nodes");
    if (leaves != tree.nodes + 1) {
      error(node, "tree of " + std::to_string(tree.nodes) + " nodes with " + std::to_string(leaves) + " leaves");
    }
    check_tree(node, tree);
    data_.trees.push_back(tree);
  }

  // --- what both share ---

  /// The same rule as Cascade's, applied here as well because here the line is known.
  void check_tree(const pugi::xml_node& node, const Tree& tree) const {
    for (std::int32_t n = 0; n < tree.nodes; ++n) {
      const Node& inner = data_.nodes[static_cast<std::size_t>(tree.first_node + n)];
      for (const std::int32_t child : {inner.left, inner.right}) {
        if (child > 0 ? (child <= n || child >= tree.nodes) : (child < -tree.nodes)) {
          error(node, "node " + std::to_string(n) + " has child " + std::to_string(child) + " in a tree of " +
                          std::to_string(tree.nodes) + " nodes (a child node must come later than its parent)");
        }
      }
    }
  }

  static Rect read_rect(Words& words) {
    Rect rect;
    rect.x = words.integer();
    rect.y = words.integer();
    rect.width = words.integer();
    rect.height = words.integer();
    return rect;
  }

  void check_rect(const pugi::xml_node& node, const Rect& r) const {
    const auto [width, height] = data_.window;
    if (r.x < 0 || r.y < 0 || r.width < 1 || r.height < 1 || r.width > width - r.x || r.height > height - r.y) {
      error(node, "rectangle " + std::to_string(r.x) + " " + std::to_string(r.y) + " " + std::to_string(r.width) + " " +
                      std::to_string(r.height) + " leaves the window of " + std::to_string(width) + "x" +
                      std::to_string(height) + " or is empty");
    }
  }

  void read_haar(const pugi::xml_node& node) {
    HaarFeature feature;
    std::size_t count = 0;
    for (const pugi::xml_node& rect : required(node, "rects").children()) {
      if (count == 3) error(rect, "feature of more than three rectangles");
      Words words(*this, rect);
      feature.rects[count] = read_rect(words);
      feature.weights[count] = words.real_float();
      words.end();
      check_rect(rect, feature.rects[count]);
      ++count;
    }
    if (count < 2) error(node, "feature of fewer than two rectangles");
    if (node.child("tilted")) {
      const std::int32_t tilted = integer(node, "tilted");
      if (tilted != 0 && tilted != 1) error(node, "tilted is neither 0 nor 1");
      feature.tilted = tilted == 1;
    }
    data_.haar.push_back(feature);
  }

  std::string_view text_;
  std::string_view name_;
  pugi::xml_document document_;
  CascadeData data_;
  std::int32_t declared_stages_ = -1;
};

}  // namespace detail

/// The cascade in `text`, an XML file of OpenCV's: new format (opencv_traincascade; Haar or LBP) or old (haartraining).
/// `name` stands in errors. Throws FormatError naming the line and what is wrong with it.
inline Cascade parse_cascade(std::string_view text, std::string_view name = "cascade") {
  CascadeData data = detail::XmlReader(text, name).read();
#if MIEN_HAS_EXCEPTIONS
  try {
    return Cascade(std::move(data));
  } catch (const FormatError& error) {
    fail<FormatError>(std::string(name) + ": " + error.what());
  }
#else
  return Cascade(std::move(data));
#endif
}

#if MIEN_HAS_FILES
/// `parse_cascade` of a file. Throws FileError when it cannot be read.
inline Cascade load_cascade(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) fail<FileError>(path + ": cannot be opened for reading: " + std::strerror(errno));
  std::string text;
  std::size_t used = 0;
  // Not by asking for the size first: that means nothing for a pipe, and one byte above the limit is enough to refuse.
  while (used <= max_xml_bytes) {
    text.resize(std::min(max_xml_bytes + 1, std::max<std::size_t>(std::size_t{1} << 20, 2 * used)));
    const std::size_t got = std::fread(text.data() + used, 1, text.size() - used, file.get());
    used += got;
    if (got == 0) break;
  }
  if (std::ferror(file.get())) fail<FileError>(path + ": reading failed");
  text.resize(used);
  return parse_cascade(text, path);
}
#endif

}  // namespace mien::cascade

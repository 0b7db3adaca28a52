// JSON: a small strict value, for the few forms in a model file and for the programs' `--json` output.
#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/io/json_text.hpp"

namespace mien {

class JsonView;

/// What `Json::parse` accepts at most. `depth` counts nested arrays and objects and may not exceed `Json::max_depth`.
struct JsonLimits {
  std::size_t bytes = std::size_t{1} << 20;
  int depth = 32;
  std::size_t nodes = 100'000;
};

/// A JSON value: null, boolean, integer (64 signed bits, exact), number (double), string, array, or object (members
/// in the order in which they were added, no name twice). Built from the leaves up and never deeper than `max_depth`,
/// so that copying, comparing and writing cannot exhaust the stack.
///
///     Json report = Json::object({{"accuracy", 0.63}, {"classes", Json::array({"angry", "happy"})}});
///     std::string line = report.write();
///     Json network = Json::parse(text);
///     auto kernel = network["layers"][3]["kernel"].as_integer(1, 11);  // error: "layers[3].kernel: expected ..."
class Json {
 public:
  enum class Kind : unsigned char { null, boolean, integer, number, string, array, object };
  static constexpr int max_depth = 32;

  Json() = default;
  Json(std::nullptr_t) {}
  template <std::same_as<bool> B>
  Json(B value) : kind_(Kind::boolean), integer_(value) {}
  /// Throws ArgumentError for an unsigned value above 2^63-1.
  template <std::integral I>
  requires(!std::same_as<I, bool>) Json(I value) : kind_(Kind::integer), integer_(static_cast<std::int64_t>(value)) {
    if (!std::in_range<std::int64_t>(value)) fail<ArgumentError>("a JSON integer beyond 2^63-1");
  }
  template <std::floating_point F>
  Json(F value) : kind_(Kind::number), number_(static_cast<double>(value)) {}
  Json(std::string text) : kind_(Kind::string), text_(std::move(text)) {}
  Json(std::string_view text) : Json(std::string(text)) {}
  Json(const char* text) : Json(std::string(text)) {}

  static Json array(std::vector<Json> items = {});
  /// Throws ArgumentError if a name stands twice.
  static Json object(std::initializer_list<std::pair<std::string_view, Json>> members = {});
  /// An array of the elements of `values`: numbers, strings, bools.
  template <class Range>
  static Json array_of(const Range& values) {
    std::vector<Json> items;
    for (const auto& value : values) items.push_back(Json(value));
    return array(std::move(items));
  }

  /// Reads one JSON text (RFC 8259, UTF-8, no byte order mark). Throws FormatError with the byte offset for anything
  /// else, for a name that stands twice in an object, a whole number beyond 64 signed bits, a number beyond double's
  /// range, and what goes over `limits`.
  static Json parse(std::string_view text, const JsonLimits& limits = {});

  /// As text that `parse` reads back equal: numbers as short as they can be while exact, a double always with a point
  /// or an exponent. `indent` > 0 spreads it over lines. Malformed UTF-8 in strings becomes U+FFFD. Throws
  /// NumericError for a NaN or an infinity, which JSON cannot hold.
  std::string write(int indent = 0) const;

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }

  /// Appends to an array (null becomes an empty one). Throws ArgumentError for another kind or beyond `max_depth`.
  Json& push_back(Json item);
  /// Adds or replaces a member of an object (null becomes an empty one). Throws as push_back.
  Json& set(std::string_view name, Json value);

  /// Checked access: see JsonView. Only on a named value, since the view points into it.
  JsonView operator[](std::string_view name) const&;
  JsonView operator[](std::size_t index) const&;
  JsonView operator[](std::string_view) const&& = delete;
  JsonView operator[](std::size_t) const&& = delete;

  friend bool operator==(const Json& a, const Json& b) {
    return a.kind_ == b.kind_ && a.integer_ == b.integer_ && a.number_ == b.number_ && a.text_ == b.text_ &&
           a.names_ == b.names_ && a.items_ == b.items_;
  }

 private:
  friend class JsonView;
  struct Reader;

  void adopt(Kind kind, const Json& child);
  void write_to(std::string& out, int indent, int level) const;

  Kind kind_ = Kind::null;
  unsigned char depth_ = 0;  // 0 for leaves, 1 for an array of leaves or an empty one, and so on
  std::int64_t integer_ = 0;
  double number_ = 0;
  std::string text_;
  std::vector<std::string> names_;  // of an object's items, in parallel
  std::vector<Json> items_;
};

/// A value inside a document that outlives it. Getters check kind and range, and their FormatErrors name the place:
/// "layers[3].kernel: expected an integer, got string". A view costs nothing: the path is looked for upon an error.
class JsonView {
 public:
  JsonView(const Json& document) : root_(&document), value_(&document) {}

  const Json& json() const { return *value_; }
  Json::Kind kind() const { return value_->kind_; }
  bool is_null() const { return kind() == Json::Kind::null; }

  /// Elements of an array or members of an object.
  std::size_t size() const;
  /// Member by name, or element by index (of an object: the member at that place).
  JsonView operator[](std::string_view name) const;
  JsonView operator[](std::size_t index) const;
  /// Whether an object has this member; false for other kinds.
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Name of an object's member by place.
  const std::string& name(std::size_t index) const;
  /// Refuses an object that has members other than these: a misspelt setting is an error, not a default.
  void allow_only(std::initializer_list<std::string_view> names) const;

  bool as_bool() const;
  /// A whole number written as one, from `low` to `high`.
  std::int64_t as_integer(std::int64_t low = std::numeric_limits<std::int64_t>::min(),
                          std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  /// A number, whole or not, from `low` to `high`; always finite.
  double as_number(double low = std::numeric_limits<double>::lowest(),
                   double high = std::numeric_limits<double>::max()) const;
  const std::string& as_string() const;
  std::vector<std::int64_t> as_integers() const;
  std::vector<double> as_numbers() const;
  std::vector<std::string> as_strings() const;

  /// Where this value stands in its document, such as "layers[3].kernel"; "the document" for the whole.
  std::string path() const;
  /// Throws FormatError: path and `message`. For checks of one's own.
  [[noreturn, gnu::noinline]] void error(std::string_view message) const {
    detail::fail_with<FormatError>({path(), ": ", message});
  }

 private:
  JsonView(const Json& root, const Json& value) : root_(&root), value_(&value) {}
  const Json* find(std::string_view name) const;
  void require(Json::Kind kind) const;
  static const char* kind_name(Json::Kind kind);
  static bool find_path(const Json& from, const Json* to, std::string& path);

  const Json* root_;
  const Json* value_;
};

// ---- definitions ----

struct Json::Reader {
  detail::JsonCursor in;
  const JsonLimits& limits;
  std::size_t nodes = 0;

  Json value(int depth) {
    if (++nodes > limits.nodes) in.error({"more than ", limits.nodes, " values"});
    const char next = in.peek();
    if (next == '{' || next == '[') {
      if (depth == limits.depth) in.error({"nested deeper than ", limits.depth});
      return next == '{' ? object(depth + 1) : array(depth + 1);
    }
    if (next == '"') return Json(in.string());
    if (next == '-' || (next >= '0' && next <= '9')) {
      const detail::JsonNumber number = in.number();
      return number.is_integer ? Json(number.integer) : Json(number.number);
    }
    if (in.accept_word("true")) return Json(true);
    if (in.accept_word("false")) return Json(false);
    if (in.accept_word("null")) return Json();
    in.error({"expected a value, found ", in.found()});
  }

  Json array(int depth) {
    Json result = Json::array();
    in.expect('[');
    if (in.accept(']')) return result;
    do {
      result.push_back(value(depth));
    } while (in.more(']'));
    return result;
  }

  Json object(int depth) {
    Json result = Json::object();
    const std::size_t start = in.position();
    in.expect('{');
    if (in.accept('}')) return result;
    do {
      std::string name = in.string();
      in.expect(':');
      Json member = value(depth);
      result.adopt(Kind::object, member);
      result.names_.push_back(std::move(name));
      result.items_.push_back(std::move(member));
    } while (in.more('}'));
    if (const std::string* const twice = detail::find_twice(result.names_)) {
      in.error_at(start, {"the name ", detail::in_quotes(*twice), " stands twice in an object"});
    }
    return result;
  }
};

inline Json Json::parse(std::string_view text, const JsonLimits& limits) {
  using detail::fail_with;
  if (limits.depth < 0 || limits.depth > max_depth) {
    fail_with<ArgumentError>({"JsonLimits::depth must lie in 0 to ", max_depth});
  }
  if (text.size() > limits.bytes) {
    fail_with<FormatError>({"JSON: ", text.size(), " bytes are more than the ", limits.bytes, " allowed"});
  }
  Reader reader{detail::JsonCursor(text, "JSON"), limits};
  Json result = reader.value(0);
  reader.in.end();
  return result;
}

inline Json Json::array(std::vector<Json> items) {
  Json result;
  result.kind_ = Kind::array;
  result.depth_ = 1;
  for (const Json& item : items) result.adopt(Kind::array, item);
  result.items_ = std::move(items);
  return result;
}

inline Json Json::object(std::initializer_list<std::pair<std::string_view, Json>> members) {
  Json result;
  result.kind_ = Kind::object;
  result.depth_ = 1;
  for (const auto& [name, value] : members) {
    if (JsonView(result).contains(name))
      detail::fail_with<ArgumentError>({"JSON: ", detail::in_quotes(name), " stands twice"});
    result.set(name, value);
  }
  return result;
}

/// Makes room for `child` in this container: checks kind and depth.
inline void Json::adopt(Kind kind, const Json& child) {
  if (kind_ == Kind::null) {
    kind_ = kind;
    depth_ = 1;
  }
  if (kind_ != kind) fail<ArgumentError>("JSON: only arrays have push_back, and only objects have set");
  if (child.depth_ >= max_depth) detail::fail_with<ArgumentError>({"JSON: nested deeper than ", max_depth});
  if (depth_ <= child.depth_) depth_ = static_cast<unsigned char>(child.depth_ + 1);
}

inline Json& Json::push_back(Json item) {
  adopt(Kind::array, item);
  items_.push_back(std::move(item));
  return *this;
}

inline Json& Json::set(std::string_view name, Json value) {
  adopt(Kind::object, value);
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == name) {
      items_[i] = std::move(value);
      return *this;
    }
  }
  names_.emplace_back(name);
  items_.push_back(std::move(value));
  return *this;
}

inline std::string Json::write(int indent) const {
  std::string out;
  write_to(out, indent, 0);
  return out;
}

inline void Json::write_to(std::string& out, int indent, int level) const {
  const auto line = [&](int depth) {
    if (indent <= 0) return;
    out += '\n';
    out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(depth), ' ');
  };
  if (kind_ == Kind::null) {
    out += "null";
  } else if (kind_ == Kind::boolean) {
    out += integer_ != 0 ? "true" : "false";
  } else if (kind_ == Kind::integer) {
    out += std::to_string(integer_);
  } else if (kind_ == Kind::number) {
    if (!detail::is_finite(number_))
      fail<NumericError>("JSON cannot hold NaN or infinity: leave the value out or null");
    char digits[32];  // the longest double, -1.7976931348623157e+308, has 24
    const std::string_view text(digits,
                                static_cast<std::size_t>(std::to_chars(digits, digits + 32, number_).ptr - digits));
    out += text;
    if (text.find('.') == text.npos && text.find('e') == text.npos) out += ".0";
  } else if (kind_ == Kind::string) {
    detail::append_json_string(out, text_);
  } else {
    const bool object = kind_ == Kind::object;
    out += object ? '{' : '[';
    for (std::size_t i = 0; i < items_.size(); ++i) {
      if (i > 0) out += ',';
      line(level + 1);
      if (object) {
        detail::append_json_string(out, names_[i]);
        out += indent > 0 ? ": " : ":";
      }
      items_[i].write_to(out, indent, level + 1);
    }
    if (!items_.empty()) line(level);
    out += object ? '}' : ']';
  }
}

inline JsonView Json::operator[](std::string_view name) const& { return JsonView(*this)[name]; }
inline JsonView Json::operator[](std::size_t index) const& { return JsonView(*this)[index]; }

inline const char* JsonView::kind_name(Json::Kind kind) {
  static constexpr const char* names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
  return names[static_cast<std::size_t>(kind)];
}

inline void JsonView::require(Json::Kind kind) const {
  if (value_->kind_ == kind) return;
  const bool vowel = kind == Json::Kind::integer || kind == Json::Kind::array || kind == Json::Kind::object;
  error(detail::join({"expected ", vowel ? "an " : "a ", kind_name(kind), ", got ", kind_name(value_->kind_)}));
}

inline std::size_t JsonView::size() const {
  if (kind() != Json::Kind::object) require(Json::Kind::array);
  return value_->items_.size();
}

inline const Json* JsonView::find(std::string_view name) const {
  for (std::size_t i = 0; i < value_->names_.size(); ++i)
    if (value_->names_[i] == name) return &value_->items_[i];
  return nullptr;
}

inline JsonView JsonView::operator[](std::string_view name) const {
  require(Json::Kind::object);
  const Json* const member = find(name);
  if (member == nullptr) error(detail::join({detail::in_quotes(name), " is missing"}));
  return {*root_, *member};
}

inline JsonView JsonView::operator[](std::size_t index) const {
  if (index >= size()) error(detail::join({"has ", size(), " elements, no ", index}));
  return {*root_, value_->items_[index]};
}

inline const std::string& JsonView::name(std::size_t index) const {
  require(Json::Kind::object);
  if (index >= size()) error(detail::join({"has ", size(), " members, no ", index}));
  return value_->names_[index];
}

inline void JsonView::allow_only(std::initializer_list<std::string_view> names) const {
  require(Json::Kind::object);
  for (const std::string& name : value_->names_) {
    bool known = false;
    for (const std::string_view allowed : names) known = known || allowed == name;
    if (!known) error(detail::join({"unknown member ", detail::in_quotes(name)}));
  }
}

inline bool JsonView::as_bool() const {
  require(Json::Kind::boolean);
  return value_->integer_ != 0;
}

inline std::int64_t JsonView::as_integer(std::int64_t low, std::int64_t high) const {
  require(Json::Kind::integer);
  if (value_->integer_ < low || value_->integer_ > high) {
    error(detail::join({value_->integer_, " lies outside ", low, " to ", high}));
  }
  return value_->integer_;
}

inline double JsonView::as_number(double low, double high) const {
  if (kind() != Json::Kind::integer) require(Json::Kind::number);
  const double number = kind() == Json::Kind::integer ? static_cast<double>(value_->integer_) : value_->number_;
  if (!(number >= low && number <= high)) {
    error(detail::join({Json(number).write(), " lies outside ", Json(low).write(), " to ", Json(high).write()}));
  }
  return number;
}

inline const std::string& JsonView::as_string() const {
  require(Json::Kind::string);
  return value_->text_;
}

inline std::vector<std::int64_t> JsonView::as_integers() const {
  require(Json::Kind::array);
  std::vector<std::int64_t> values;
  for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].as_integer());
  return values;
}

inline std::vector<double> JsonView::as_numbers() const {
  require(Json::Kind::array);
  std::vector<double> values;
  for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].as_number());
  return values;
}

inline std::vector<std::string> JsonView::as_strings() const {
  require(Json::Kind::array);
  std::vector<std::string> values;
  for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].as_string());
  return values;
}

inline bool JsonView::find_path(const Json& from, const Json* to, std::string& path) {
  if (&from == to) return true;
  for (std::size_t i = 0; i < from.items_.size(); ++i) {
    const std::size_t length = path.size();
    if (from.kind_ == Json::Kind::array) {
      path += detail::join({"[", i, "]"});
    } else {
      const std::string quoted = detail::in_quotes(from.names_[i]);
      path += detail::join({length > 0 ? "." : "", std::string_view(quoted).substr(1, quoted.size() - 2)});
    }
    if (find_path(from.items_[i], to, path)) return true;
    path.resize(length);
  }
  return false;
}

inline std::string JsonView::path() const {
  std::string path;
  find_path(*root_, value_, path);
  return path.empty() ? "the document" : path;
}

}  // namespace mien

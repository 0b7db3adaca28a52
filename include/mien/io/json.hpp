// JSON: a small strict value, for the few forms in a model file and for the programs' `--json` output.
#pragma once

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

namespace mien {

class JsonView;

/// What `Json::parse` accepts at most. `depth` counts nested arrays and objects and may not exceed `Json::max_depth`.
struct JsonLimits {
  std::size_t bytes = std::size_t{1} << 20;
  int depth = 128;
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
  static constexpr int max_depth = 128;

  Json() = default;
  // Named here only to be compiled for size.
  MIEN_COLD Json(const Json&) = default;
  MIEN_COLD Json(Json&&) = default;
  MIEN_COLD Json& operator=(const Json&) = default;
  MIEN_COLD Json& operator=(Json&&) = default;
  MIEN_COLD ~Json() = default;
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
  MIEN_COLD static Json array_of(const Range& values) {
    std::vector<Json> items;
    items.reserve(static_cast<std::size_t>(std::size(values)));
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
  [[noreturn]] void error(std::string_view message) const;

 private:
  JsonView(const Json& root, const Json& value) : root_(&root), value_(&value) {}
  const Json* find(std::string_view name) const;
  void require(Json::Kind kind) const;
  static const char* kind_name(Json::Kind kind);
  static bool find_path(const Json& from, const Json* to, std::string& path);

  const Json* root_;
  const Json* value_;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/io/impl/json.hpp"
#endif

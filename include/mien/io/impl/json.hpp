// JSON: definitions for mien/io/json.hpp. Private.
#pragma once

#include <charconv>

#include "mien/io/json.hpp"
#include "mien/io/json_text.hpp"
#include "mien/io/support.hpp"

namespace mien {

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

MIEN_COLD MIEN_BODY Json Json::parse(std::string_view text, const JsonLimits& limits) {
  if (limits.depth < 0 || limits.depth > max_depth) {
    fail<ArgumentError>({"JsonLimits::depth must lie in 0 to ", max_depth});
  }
  if (text.size() > limits.bytes) {
    fail<FormatError>({"JSON: ", text.size(), " bytes are more than the ", limits.bytes, " allowed"});
  }
  Reader reader{detail::JsonCursor(text, "JSON"), limits};
  Json result = reader.value(0);
  reader.in.end();
  return result;
}

MIEN_COLD MIEN_BODY Json Json::array(std::vector<Json> items) {
  Json result;
  result.kind_ = Kind::array;
  result.depth_ = 1;
  for (const Json& item : items) result.adopt(Kind::array, item);
  result.items_ = std::move(items);
  return result;
}

MIEN_COLD MIEN_BODY Json Json::object(std::initializer_list<std::pair<std::string_view, Json>> members) {
  Json result;
  result.kind_ = Kind::object;
  result.depth_ = 1;
  for (const auto& [name, value] : members) {
    if (JsonView(result).contains(name)) fail<ArgumentError>({"JSON: ", detail::in_quotes(name), " stands twice"});
    result.set(name, value);
  }
  return result;
}

/// Makes room for `child` in this container: checks kind and depth.
MIEN_COLD MIEN_BODY void Json::adopt(Kind kind, const Json& child) {
  if (kind_ == Kind::null) {
    kind_ = kind;
    depth_ = 1;
  }
  if (kind_ != kind) fail<ArgumentError>("JSON: only arrays have push_back, and only objects have set");
  if (child.depth_ >= max_depth) fail<ArgumentError>({"JSON: nested deeper than ", max_depth});
  if (depth_ <= child.depth_) depth_ = static_cast<unsigned char>(child.depth_ + 1);
}

MIEN_COLD MIEN_BODY Json& Json::push_back(Json item) {
  adopt(Kind::array, item);
  items_.push_back(std::move(item));
  return *this;
}

MIEN_COLD MIEN_BODY Json& Json::set(std::string_view name, Json value) {
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

MIEN_COLD MIEN_BODY std::string Json::write(int indent) const {
  std::string out;
  write_to(out, indent, 0);
  return out;
}

MIEN_COLD MIEN_BODY void Json::write_to(std::string& out, int indent, int level) const {
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

MIEN_COLD MIEN_BODY JsonView Json::operator[](std::string_view name) const& { return JsonView(*this)[name]; }
MIEN_COLD MIEN_BODY JsonView Json::operator[](std::size_t index) const& { return JsonView(*this)[index]; }

MIEN_COLD MIEN_BODY const char* JsonView::kind_name(Json::Kind kind) {
  static constexpr const char* names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
  return names[static_cast<std::size_t>(kind)];
}

MIEN_COLD MIEN_BODY void JsonView::require(Json::Kind kind) const {
  if (value_->kind_ == kind) return;
  const bool vowel = kind == Json::Kind::integer || kind == Json::Kind::array || kind == Json::Kind::object;
  error(detail::join({"expected ", vowel ? "an " : "a ", kind_name(kind), ", got ", kind_name(value_->kind_)}));
}

MIEN_COLD MIEN_BODY std::size_t JsonView::size() const {
  if (kind() != Json::Kind::object) require(Json::Kind::array);
  return value_->items_.size();
}

MIEN_COLD MIEN_BODY const Json* JsonView::find(std::string_view name) const {
  for (std::size_t i = 0; i < value_->names_.size(); ++i)
    if (value_->names_[i] == name) return &value_->items_[i];
  return nullptr;
}

MIEN_COLD MIEN_BODY JsonView JsonView::operator[](std::string_view name) const {
  require(Json::Kind::object);
  const Json* const member = find(name);
  if (member == nullptr) error(detail::join({detail::in_quotes(name), " is missing"}));
  return {*root_, *member};
}

MIEN_COLD MIEN_BODY JsonView JsonView::operator[](std::size_t index) const {
  if (index >= size()) error(detail::join({"has ", size(), " elements, no ", index}));
  return {*root_, value_->items_[index]};
}

MIEN_COLD MIEN_BODY const std::string& JsonView::name(std::size_t index) const {
  require(Json::Kind::object);
  if (index >= size()) error(detail::join({"has ", size(), " members, no ", index}));
  return value_->names_[index];
}

MIEN_COLD MIEN_BODY void JsonView::allow_only(std::initializer_list<std::string_view> names) const {
  require(Json::Kind::object);
  for (const std::string& name : value_->names_) {
    bool known = false;
    for (const std::string_view allowed : names) known = known || allowed == name;
    if (!known) error(detail::join({"unknown member ", detail::in_quotes(name)}));
  }
}

MIEN_COLD MIEN_BODY bool JsonView::as_bool() const {
  require(Json::Kind::boolean);
  return value_->integer_ != 0;
}

MIEN_COLD MIEN_BODY std::int64_t JsonView::as_integer(std::int64_t low, std::int64_t high) const {
  require(Json::Kind::integer);
  if (value_->integer_ < low || value_->integer_ > high) {
    error(detail::join({value_->integer_, " lies outside ", low, " to ", high}));
  }
  return value_->integer_;
}

MIEN_COLD MIEN_BODY double JsonView::as_number(double low, double high) const {
  if (kind() != Json::Kind::integer) require(Json::Kind::number);
  const double number = kind() == Json::Kind::integer ? static_cast<double>(value_->integer_) : value_->number_;
  if (!(number >= low && number <= high)) {
    error(detail::join({Json(number).write(), " lies outside ", Json(low).write(), " to ", Json(high).write()}));
  }
  return number;
}

MIEN_COLD MIEN_BODY const std::string& JsonView::as_string() const {
  require(Json::Kind::string);
  return value_->text_;
}

MIEN_COLD MIEN_BODY std::vector<std::int64_t> JsonView::as_integers() const {
  require(Json::Kind::array);
  std::vector<std::int64_t> values;
  for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].as_integer());
  return values;
}

MIEN_COLD MIEN_BODY std::vector<double> JsonView::as_numbers() const {
  require(Json::Kind::array);
  std::vector<double> values;
  for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].as_number());
  return values;
}

MIEN_COLD MIEN_BODY std::vector<std::string> JsonView::as_strings() const {
  require(Json::Kind::array);
  std::vector<std::string> values;
  for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].as_string());
  return values;
}

MIEN_COLD MIEN_BODY bool JsonView::find_path(const Json& from, const Json* to, std::string& path) {
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

MIEN_COLD MIEN_BODY void JsonView::error(std::string_view message) const { fail<FormatError>({path(), ": ", message}); }

MIEN_COLD MIEN_BODY std::string JsonView::path() const {
  std::string path;
  find_path(*root_, value_, path);
  return path.empty() ? "the document" : path;
}

}  // namespace mien

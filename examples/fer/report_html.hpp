// Pieces of the HTML report: safe text, numbers, the style sheet.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

namespace mien::fer::detail {

/// Text as HTML content or as an attribute in double quotes. Control characters and bytes that are no UTF-8 become
/// U+FFFD, so that no file name can damage the page.
inline std::string escape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      switch (byte) {
        case '&':
          out += "&amp;";
          break;
        case '<':
          out += "&lt;";
          break;
        case '>':
          out += "&gt;";
          break;
        case '"':
          out += "&quot;";
          break;
        case '\'':
          out += "&#39;";
          break;
        case '\n':
          out += "\n";
          break;
        case '\t':
          out += ' ';
          break;
        default:
          if (byte < 0x20 || byte == 0x7F) {
            out += "\xEF\xBF\xBD";
          } else {
            out += text[i];
          }
      }
      ++i;
      continue;
    }
    const std::size_t length = byte >= 0xC2 && byte <= 0xDF   ? 2
                               : (byte & 0xF0) == 0xE0        ? 3
                               : byte >= 0xF0 && byte <= 0xF4 ? 4
                                                              : 0;
    bool good = length != 0 && i + length <= text.size();
    unsigned code = length == 2 ? byte & 0x1FU : length == 3 ? byte & 0x0FU : byte & 0x07U;
    for (std::size_t k = 1; good && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      good = (next & 0xC0U) == 0x80U;
      code = (code << 6) | (next & 0x3FU);
    }
    // C1 controls, overlong forms, surrogates, beyond Unicode.
    if (good) {
      good = code >= 0xA0 && (length != 3 || (code >= 0x800 && (code < 0xD800 || code > 0xDFFF))) &&
             (length != 4 || (code >= 0x10000 && code <= 0x10FFFF));
    }
    if (good) {
      out += text.substr(i, length);
      i += length;
    } else {
      out += "\xEF\xBF\xBD";
      ++i;
    }
  }
  return out;
}

/// A number with so many decimals, whatever the locale; an en dash for one that is not finite.
inline std::string fixed(double value, int decimals) {
  if (!std::isfinite(value) || std::abs(value) > 1e15) return "\xE2\x80\x93";
  char digits[64];
  return std::string(digits,
                     std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed, decimals).ptr);
}

/// A number with so many significant digits, short: 0.0001, 1e-07.
inline std::string general(double value, int digits_wanted) {
  if (!std::isfinite(value)) return "\xE2\x80\x93";
  char digits[64];
  return std::string(
      digits, std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general, digits_wanted).ptr);
}

/// A share of 1 as "63.4 %".
inline std::string percent(double share, int decimals = 1) {
  return std::isfinite(share) ? fixed(100.0 * share, decimals) + "\xE2\x80\xAF%" : fixed(share, 0);
}

/// 28709 as "28,709".
inline std::string grouped(long long n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > (n < 0 ? 4U : 3U);) digits.insert(at -= 3, ",");
  return digits;
}

inline constexpr std::string_view report_style = R"css(
:root{color-scheme:light dark;--page:#f3f4f7;--card:#fff;--ink:#1a1e27;--soft:#566071;--line:#dde1e9;--accent:#1f5fd0;
--train:#b4540a;--good:#1f5fd0;--right:31 95 208;--wrong:224 112 24;--hot:#fff;--warn:#fff3d6;--warn-ink:#5c3d00;--warn-line:#e0b04a}
@media screen and (prefers-color-scheme:dark){:root{--page:#0f1217;--card:#181c24;--ink:#e8ebf1;--soft:#a3adbd;--line:#2d3440;
--accent:#82b1ff;--train:#ffb066;--right:48 104 214;--wrong:186 88 20;--hot:#fff;--warn:#3a2c0b;--warn-ink:#ffe2a0;--warn-line:#8a6a1f}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
-webkit-text-size-adjust:100%}
main,header,footer{max-width:1080px;margin:0 auto;padding:0 16px}
header{padding-top:32px;padding-bottom:8px}
h1{font-size:clamp(1.6rem,4vw,2.2rem);line-height:1.15;margin:0 0 6px;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0 0 4px;letter-spacing:-.01em}
h3{font-size:.95rem;margin:18px 0 8px}
p{margin:0 0 12px;max-width:70ch}
.soft,figcaption,caption{color:var(--soft)}
.soft{font-size:.92rem}
.banner{background:var(--warn);color:var(--warn-ink);border:1px solid var(--warn-line);border-left-width:6px;border-radius:10px;
padding:12px 16px;margin:12px 0 0;overflow-wrap:anywhere}
.banner strong{display:block}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:20px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:16px 0;padding:0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:14px 16px}
.tile dt{font-size:.85rem;color:var(--soft)}
.tile dd{margin:2px 0 0;font-size:1.7rem;line-height:1.2;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tile dd small{display:block;font-size:.8rem;font-weight:400;letter-spacing:0;color:var(--soft)}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:16px 32px}
.two>*{min-width:0}.two>.card{margin:0}
figure{margin:0}
svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--soft)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .v{stroke:var(--accent);fill:none;stroke-width:2.2;stroke-linejoin:round}
svg .t{stroke:var(--train);fill:none;stroke-width:2;stroke-dasharray:5 4;stroke-linejoin:round}
svg circle.v{fill:var(--accent);stroke:var(--card);stroke-width:1}svg circle.t{fill:var(--train);stroke:var(--card);stroke-width:1;stroke-dasharray:none}
svg .best{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.88rem;margin:6px 0 0;padding:0;list-style:none}
.legend i{display:inline-block;width:24px;height:0;border-top:3px solid var(--accent);vertical-align:middle;margin-right:6px}
.legend .t i{border-top:3px dashed var(--train)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.94rem}
caption{text-align:left;font-size:.92rem;padding:0 0 10px}
th,td{padding:7px 10px;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
thead th{font-weight:600;font-size:.85rem;color:var(--soft);vertical-align:bottom}
tbody th{font-weight:600}
tbody tr:last-child>*{border-bottom:0}
.total>*{border-top:2px solid var(--line);font-weight:650}
.pairs th{width:38%;font-weight:500;color:var(--soft)}
.pairs td{text-align:left;overflow-wrap:anywhere}
.matrix{table-layout:fixed;border-collapse:separate;border-spacing:3px;min-width:0}
.matrix th{border:0;padding:4px 2px;font-size:.85rem;overflow:hidden;text-overflow:ellipsis}
.matrix thead th{text-align:center}
.matrix tbody th{text-align:left}
.matrix col.name{width:5.2rem}
.matrix td{border:0;text-align:center;padding:7px 1px;border-radius:7px;line-height:1.15;font-weight:600;
background:rgb(var(--c)/var(--a));--c:var(--wrong)}
.matrix td small{display:block;font-weight:400;font-size:.74rem}
.matrix .d{--c:var(--right)}
.matrix .hot{color:var(--hot)}
.matrix td.none{background:none;color:var(--soft);font-weight:400}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.85rem;color:var(--soft);margin-top:8px}
.key i{display:inline-block;width:14px;height:14px;border-radius:4px;vertical-align:-2px;margin-right:6px;background:rgb(var(--right)/.8)}
.key .w i{background:rgb(var(--wrong)/.6)}
.bar{display:inline-block;vertical-align:middle;width:72px;height:8px;border-radius:4px;background:var(--line);margin-right:8px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--accent);border-radius:4px}
.faces{display:grid;grid-template-columns:repeat(auto-fill,minmax(96px,1fr));gap:14px;padding:0;margin:0;list-style:none}
.faces img{display:block;width:100%;height:auto;max-width:144px;aspect-ratio:1;image-rendering:pixelated;border-radius:9px;border:3px solid rgb(var(--right)/.75)}
.faces.no img{border-color:rgb(var(--wrong)/.85)}
.faces figcaption{font-size:.82rem;line-height:1.3;margin-top:4px}
.faces b{color:var(--ink);font-weight:600}
details{margin:14px 0}
summary{cursor:pointer;font-weight:600;font-size:.95rem;padding:4px 0}
footer{padding-top:4px;padding-bottom:40px;color:var(--soft);font-size:.88rem}
.wide{display:inline}.narrow{display:none}
@media(max-width:560px){svg{font-size:16px}.card{padding:16px 12px}.wide{display:none}.narrow{display:inline}.matrix{border-spacing:2px;font-size:.82rem}
.matrix col.name{width:2.6rem}.matrix td small{font-size:.68rem}.bar{display:none}th,td{padding:6px 5px}table{font-size:.88rem}
.tiles{grid-template-columns:1fr 1fr}.faces{grid-template-columns:repeat(auto-fill,minmax(84px,1fr))}}
@media print{.two{grid-template-columns:1fr 1fr}:root{color-scheme:light}header{padding-top:0}.tiles{grid-template-columns:repeat(4,1fr)}.faces{grid-template-columns:repeat(9,1fr)}body{background:#fff;font-size:11pt}.card,.tile{border-color:#bbb;break-inside:avoid}
main,header,footer{max-width:none}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace mien::fer::detail

#include "data/grammar.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace glint {

std::vector<GrammarItem> Grammar::parse(const std::string& pattern) const {
  using Kind = GrammarItem::Kind;
  std::vector<GrammarItem> items;
  for (size_t at = 0, end = 0; at < pattern.size(); at = end) {
    const size_t open = pattern.find('{', at);
    end = open == at ? pattern.find('}', at) + 1 : std::min(open, pattern.size());
    GLINT_CHECK(end > at, "no } in ", pattern);
    GrammarItem& item = items.emplace_back(GrammarItem{Kind::text, pattern.substr(at, end - at)});
    if (open != at) continue;
    std::string name = item.text.substr(1, item.text.size() - 2);
    item.kind = name.starts_with("new ") ? Kind::draw_new : name.starts_with("same ") ? Kind::repeat : Kind::draw;
    if (item.kind != Kind::draw) name.erase(0, name.find(' ') + 1);
    const size_t dot = name.find('.');
    const auto has_name = [&](const GrammarRule& rule) { return rule.name == name.substr(0, dot); };
    const auto rule = std::find_if(rules_.begin(), rules_.end(), has_name);
    GLINT_CHECK(rule != rules_.end(), "there is no rule ", item.text);
    item.rule = static_cast<size_t>(rule - rules_.begin());
    if (dot == std::string::npos) continue;
    const auto form = std::find(rule->forms.begin(), rule->forms.end(), name.substr(dot + 1));
    GLINT_CHECK(form != rule->forms.end(), "there is no form ", item.text);
    item.form = static_cast<size_t>(form - rule->forms.begin());
  }
  return items;
}

void Grammar::add(const std::string& name, const std::vector<std::string>& forms, const Alternatives& alternatives) {
  GrammarRule rule{name, forms, {}, 0, std::vector<double>(forms.size()), std::vector<double>(forms.size())};
  for (const auto& [weight, patterns] : alternatives) rule.total_weight += weight;
  for (const auto& [weight, patterns] : alternatives) {
    GLINT_CHECK(patterns.size() == forms.size(), name, ": ", patterns.size(), " forms");
    const double p = static_cast<double>(weight) / rule.total_weight;
    auto& parsed = rule.alternatives.emplace_back(GrammarAlternative{weight, {}}).forms;
    for (size_t form = 0; form < forms.size(); ++form) {
      parsed.push_back(parse(patterns[form]));
      rule.nats[form] -= p * std::log(p);
      for (const GrammarItem& item : parsed.back()) {
        const bool text = item.kind == GrammarItem::Kind::text, repeat = item.kind == GrammarItem::Kind::repeat;
        rule.length[form] += p * (text ? static_cast<double>(item.text.size()) : rules_[item.rule].length[item.form]);
        if (!text && !repeat) rule.nats[form] += p * rules_[item.rule].nats[item.form];
      }
    }
  }
  rules_.push_back(std::move(rule));
}

void Grammar::append_sentence(std::string& out, const Choose& choose) const {
  std::vector<size_t> chosen(rules_.size(), SIZE_MAX);
  append(out, {{GrammarItem::Kind::draw, "", rules_.size() - 1, 0}}, choose, chosen);
}

// chosen: the remembered alternative of each rule.
void Grammar::append(std::string& out, const std::vector<GrammarItem>& items, const Choose& choose,
                     std::vector<size_t>& chosen) const {
  for (const GrammarItem& item : items) {
    if (item.kind == GrammarItem::Kind::text) {
      out += item.text;
      continue;
    }
    const GrammarRule& rule = rules_[item.rule];
    size_t i = item.kind == GrammarItem::Kind::repeat ? chosen[item.rule] : 0;
    GLINT_CHECK(i < rule.alternatives.size(), rule.name, " is repeated before it is chosen");
    if (item.kind != GrammarItem::Kind::repeat)
      for (uint32_t left = choose(rule.total_weight); left >= rule.alternatives[i].weight;)
        left -= rule.alternatives[i++].weight;
    if (item.kind == GrammarItem::Kind::draw_new) chosen[item.rule] = i;
    append(out, rule.alternatives[i].forms[item.form], choose, chosen);
  }
}

}  // namespace glint

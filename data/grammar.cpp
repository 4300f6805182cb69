#include "data/grammar.h"

#include <cmath>
#include <utility>

#include "kernels/check.h"

namespace glint {

void Grammar::add_list(const std::string& name, std::vector<std::string> form_names,
                       std::vector<std::vector<std::string>> words) {
  GLINT_CHECK(!words.empty() && !form_names.empty(), name);
  for (const auto& word : words) GLINT_CHECK(word.size() == form_names.size(), name, ": ", word.front());
  list_names_[name] = static_cast<int>(lists_.size());
  std::map<std::string, int> forms;
  for (const std::string& form : form_names) forms.emplace(form, static_cast<int>(forms.size()));
  form_names_.push_back(std::move(forms));
  lists_.push_back({std::move(words)});
}

void Grammar::add_rule(const std::string& name, const std::vector<Alternative>& alternatives) {
  GrammarRule rule{name, 0, {}};
  for (const Alternative& alternative : alternatives) {
    GLINT_CHECK(alternative.weight > 0 && alternative.pattern[0] != '\0', name);
    rule.total_weight += alternative.weight;
    rule.alternatives.push_back({alternative.weight, parse_pattern(alternative.pattern)});
  }
  Expected sum;
  for (const GrammarAlternative& alternative : rule.alternatives) {
    const double p = static_cast<double>(alternative.weight) / rule.total_weight;
    sum.nats -= p * std::log(p);
    for (const GrammarItem& item : alternative.items) {
      const Expected inner = expected(item);
      sum.nats += p * inner.nats;
      sum.length += p * inner.length;
    }
  }
  rule_names_[name] = static_cast<int>(rules_.size());
  rules_.push_back(std::move(rule));
  expected_.push_back(sum);
}

std::vector<GrammarItem> Grammar::parse_pattern(const std::string& pattern) const {
  std::vector<GrammarItem> items;
  for (size_t at = 0; at < pattern.size();) {
    const size_t open = pattern.find('{', at);
    if (open != at) {
      items.push_back({GrammarItem::Kind::literal, 0, 0, pattern.substr(at, open - at)});
      at = open == std::string::npos ? pattern.size() : open;
      continue;
    }
    const size_t close = pattern.find('}', open);
    GLINT_CHECK(close != std::string::npos, pattern);
    items.push_back(parse_reference(pattern.substr(open + 1, close - open - 1)));
    at = close + 1;
  }
  return items;
}

GrammarItem Grammar::parse_reference(const std::string& reference) const {
  if (const auto rule = rule_names_.find(reference); rule != rule_names_.end()) {
    return {GrammarItem::Kind::rule, rule->second, 0, {}};
  }
  GrammarItem item{GrammarItem::Kind::word, 0, 0, {}};
  std::string name = reference;
  if (name.starts_with("new ")) item.kind = GrammarItem::Kind::new_word;
  if (name.starts_with("same ")) item.kind = GrammarItem::Kind::same_word;
  if (item.kind != GrammarItem::Kind::word) name.erase(0, name.find(' ') + 1);
  const size_t dot = name.find('.');
  const auto list = list_names_.find(name.substr(0, dot));
  GLINT_CHECK(list != list_names_.end(), "there is no list or rule {", reference, "}");
  item.index = list->second;
  if (dot != std::string::npos) {
    const auto& forms = form_names_[static_cast<size_t>(item.index)];
    const auto form = forms.find(name.substr(dot + 1));
    GLINT_CHECK(form != forms.end(), "there is no form {", reference, "}");
    item.form = form->second;
  }
  return item;
}

Grammar::Expected Grammar::expected(const GrammarItem& item) const {
  if (item.kind == GrammarItem::Kind::literal) return {0.0, static_cast<double>(item.text.size())};
  if (item.kind == GrammarItem::Kind::rule) return expected_[static_cast<size_t>(item.index)];
  const auto& words = lists_[static_cast<size_t>(item.index)].words;
  const auto n = static_cast<double>(words.size());
  double length = 0.0;
  for (const auto& word : words) length += static_cast<double>(word[static_cast<size_t>(item.form)].size());
  return {item.kind == GrammarItem::Kind::same_word ? 0.0 : std::log(n), length / n};
}

void Grammar::append_sentence(std::string& out, const Choose& choose) const {
  std::vector<int> memory(lists_.size(), -1);
  append_rule(out, rules_.size() - 1, choose, memory);
}

void Grammar::append_rule(std::string& out, size_t index, const Choose& choose, std::vector<int>& memory) const {
  const GrammarRule& rule = rules_[index];
  uint32_t left = choose(rule.total_weight);
  const GrammarAlternative* chosen = rule.alternatives.data();
  while (left >= chosen->weight) left -= (chosen++)->weight;

  for (const GrammarItem& item : chosen->items) {
    const auto i = static_cast<size_t>(item.index);
    if (item.kind == GrammarItem::Kind::literal) {
      out += item.text;
    } else if (item.kind == GrammarItem::Kind::rule) {
      append_rule(out, i, choose, memory);
    } else {
      const auto& words = lists_[i].words;
      const bool again = item.kind == GrammarItem::Kind::same_word;
      const int word = again ? memory[i] : static_cast<int>(choose(static_cast<uint32_t>(words.size())));
      GLINT_CHECK(word >= 0, "rule ", rule.name, " repeats a word before there is one");
      if (item.kind == GrammarItem::Kind::new_word) memory[i] = word;
      out += words[static_cast<size_t>(word)][static_cast<size_t>(item.form)];
    }
  }
}

}  // namespace glint

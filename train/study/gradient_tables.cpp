#include "train/study/gradients.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

namespace glint {

using nlohmann::ordered_json;
using Rows = std::vector<std::vector<std::string>>;

namespace {

// The largest of an error over layers, of one kernel at T (0: at all).
double worst(const ordered_json& rows, const std::string& kernel, const char* result, int T = 0) {
  double most = 0;
  for (const ordered_json& row : rows)
    if (row["kernel"] == kernel && (T == 0 || row["T"] == T)) most = std::max(most, row[result].get<double>());
  return most;
}
// The largest quotient of two kernels' errors in one layer at one T.
double worst_ratio(const ordered_json& rows, const std::string& kernel, const std::string& than, const char* result) {
  double most = 0;
  for (const ordered_json& a : rows)
    for (const ordered_json& b : rows)
      if (a["kernel"] == kernel && b["kernel"] == than && a["T"] == b["T"] && a["layer"] == b["layer"])
        most = std::max(most, a[result].get<double>() / b[result].get<double>());
  return most;
}

}  // namespace

std::string error_table(const ordered_json& rows) {
  Rows table = {{"T", "kernel", "out", "dq", "dk", "dv"}};
  std::set<int> lengths;
  for (const ordered_json& row : rows) lengths.insert(row["T"].get<int>());
  for (const int T : lengths) {
    for (const char* kernel : {kFlash, kReference, kBf16, kReferenceBf16, kBf16Inputs, kBestBf16}) {
      table.push_back({str_cat(T), kernel});
      for (const char* result : kResults) table.back().push_back(formatted("%.2g", worst(rows, kernel, result, T)));
    }
  }
  return markdown_table(table);
}

// The bounds of FlashAttention's tests: twice the error of a plain implementation, three times for gradients.
void check_errors(Claims& claims, const ordered_json& rows, const std::string& where) {
  for (const auto& [kernel, than, what] :
       {std::tuple{kFlash, kReference, "fp32: errors of the fused kernel against those of the reference"},
        std::tuple{kBf16, kReferenceBf16, "bf16: the same"}}) {
    bool holds = true;
    std::string ratios;
    for (const char* result : kResults) {
      const double ratio = worst_ratio(rows, kernel, than, result);
      holds = holds && ratio <= (result == kResults[0] ? 2 : 3);
      ratios += str_cat(ratios.empty() ? "" : ", ", result, " ", formatted("%.2f", ratio), " times");
    }
    claims.add(holds, str_cat(what, ", ", where, ": at most ", ratios, " (allowed: 2, gradients 3)"));
  }
}

std::string order_table(const ordered_json& rows) {
  Rows table = {{"order", "same bits"}};
  for (const char* result : kResults) table[0].push_back(str_cat(result, ": distance"));
  for (const char* result : kResults) table[0].push_back(str_cat(result, ": error"));
  std::vector<std::string> orders;
  for (const ordered_json& row : rows)
    if (std::find(orders.begin(), orders.end(), row["order"]) == orders.end()) orders.push_back(row["order"]);
  for (const std::string& order : orders) {
    bool same = true;
    double distance[4] = {}, error[4] = {};
    for (const ordered_json& row : rows) {
      if (row["order"] != order) continue;
      same = same && row["same_bits"].get<bool>();
      for (int n = 0; n < 4; ++n) {
        distance[n] = std::max(distance[n], row[kResults[n]]["distance"].get<double>());
        error[n] = std::max(error[n], row[kResults[n]]["error"].get<double>());
      }
    }
    table.push_back({order, same ? "yes" : "no"});
    for (const double value : distance) table.back().push_back(formatted("%.1e", value));
    for (const double value : error) table.back().push_back(formatted("%.1e", value));
  }
  return markdown_table(table);
}

void check_orders(Claims& claims, const ordered_json& rows) {
  bool same = true;
  double most = 0;
  for (const ordered_json& row : rows) {
    if (row["order"] == "the same again") same = same && row["same_bits"].get<bool>();
    for (const char* result : kResults) {
      const ordered_json& r = row[result];
      const double errors = r["error"].get<double>() + r["of_kernel"].get<double>();
      if (errors > 0) most = std::max(most, r["distance"].get<double>() / errors);
    }
  }
  claims.add(same, "attention twice in the same order gives the same bits");
  claims.add(
      most <= 1 + 1e-6,
      str_cat("attention in another order is no further away than the two errors against double add up to (at most ",
              formatted("%.2f", most), " of it)"));
}

std::string distance_table(const ordered_json& ways) {
  Rows table = {{"way", "same bits", "distance", "largest of a tensor", "which"}};
  for (const ordered_json& way : ways) {
    double most = 0;
    std::string which;
    for (const auto& [name, distance] : way["parameters"].items())
      if (distance.get<double>() > most) most = distance, which = name;
    table.push_back({way["way"], way["same_bits"].get<bool>() ? "yes" : "no", formatted("%.1e", way["distance"]),
                     formatted("%.1e", most), which});
  }
  return markdown_table(table);
}

void check_ways(Claims& claims, const ordered_json& ways) {
  constexpr double kFp32 = 1e-5;  // a hundred roundings of fp32
  bool same = true;
  double rounding = 0, bf16 = 0, noise = 0;
  for (const ordered_json& way : ways) {
    const double distance = way["distance"];
    if (way["kind"] == "same") same = same && way["same_bits"].get<bool>();
    if (way["kind"] == "rounding") rounding = std::max(rounding, distance);
    if (way["kind"] == "bf16") bf16 = distance;
    if (way["kind"] == "noise") noise = std::max(noise, distance);
  }
  claims.add(same, "the model's gradient twice in the same way, and with --recompute, has the same bits");
  claims.add(rounding < kFp32,
             str_cat("threads, micro-batches, ranks and the reference attention move the gradient by no "
                     "more than fp32's rounding: at most ",
                     formatted("%.1e", rounding), " of it (allowed: ", kFp32, ")"));
  claims.add(bf16 < 0.1 * noise,
             str_cat("bf16 moves it by ", formatted("%.1e", bf16), ", less than a tenth of what another batch does (",
                     formatted("%.1e", noise), ")"));
}

void Claims::add(bool holds, const std::string& claim) {
  good = good && holds;
  text += str_cat("- ", holds ? "yes" : "**no**", ": ", claim, "\n");
}

}  // namespace glint

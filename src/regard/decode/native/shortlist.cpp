#include "shortlist.h"

#include <algorithm>
#include <stdexcept>

namespace regard {

Shortlist::Shortlist(std::vector<int> tables, std::vector<int64_t> offsets, std::vector<int32_t> pieces, int sources,
                     int targets)
    : tables_(std::move(tables)),
      offsets_(std::move(offsets)),
      pieces_(std::move(pieces)),
      sources_(sources),
      targets_(targets) {
    const bool fits = sources_ >= 0 && offsets_.size() == tables_.size() * (size_t(sources_) + 1) + 1 &&
                      offsets_.front() == 0 && offsets_.back() == int64_t(pieces_.size()) &&
                      std::is_sorted(offsets_.begin(), offsets_.end());
    if (!fits) throw std::invalid_argument("the rows of a shortlist do not fit its pieces.");
    if (std::any_of(pieces_.begin(), pieces_.end(), [&](int32_t piece) { return piece < 0 || piece >= targets_; })) {
        throw std::invalid_argument("a shortlist has a piece outside the vocabulary.");
    }
}

std::vector<int> Shortlist::pieces(const std::vector<int>& source) const {
    size_t table = 0;
    while (table < tables_.size() && tables_[table] != -1 && (source.empty() || tables_[table] != source[0])) ++table;
    std::vector<int> found;
    if (table == tables_.size()) return found;
    std::vector<bool> marked(size_t(targets_), false);
    auto mark = [&](int row) {
        const size_t place = table * (size_t(sources_) + 1) + size_t(row);
        for (int64_t i = offsets_[place]; i < offsets_[place + 1]; ++i) marked[size_t(pieces_[size_t(i)])] = true;
    };
    for (int piece : source) mark(piece);
    mark(sources_);
    for (int piece = 0; piece < targets_; ++piece) {
        if (marked[size_t(piece)]) found.push_back(piece);
    }
    return found;
}

}  // namespace regard

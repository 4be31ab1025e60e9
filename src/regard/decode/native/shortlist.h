// Which pieces a translation may be made of, by what its source is made of: a few hundred of the vocabulary.
//
// Learnt by alignment (regard/tasks/shortlist.py) and read by regard/decode/shortlist.py, which describes the file.
// Each table has a row of target pieces for every source piece, and a last row of those that always come along. The
// first piece of a source, where that is a language tag, says which table counts.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace regard {

class Shortlist {
  public:
    // tables: the piece that chooses each, or -1 for any. offsets: where row r of table t begins in `pieces`, at place
    // t·(sources + 1) + r, and where the last one ends. Throws std::invalid_argument where they do not fit together.
    Shortlist(std::vector<int> tables, std::vector<int64_t> offsets, std::vector<int32_t> pieces, int sources,
              int targets);

    // The pieces for a source, ascending; none where there is no table for it.
    std::vector<int> pieces(const std::vector<int>& source) const;
    int sources() const { return sources_; }
    int targets() const { return targets_; }

  private:
    std::vector<int> tables_;
    std::vector<int64_t> offsets_;
    std::vector<int32_t> pieces_;
    int sources_, targets_;
};

}  // namespace regard

// Resizes RGB images of 8 bits with antialiasing, bit for bit as Pillow does (its
// src/libImaging/Resample.c defines the arithmetic: weights of 22 bits, each of the two passes
// rounded to 8 bits), and computes only the part of the result that is asked for.
//
// Weights are doubles computed in Pillow's order of operations. Compile with -ffp-contract=off: a
// fused multiply-add rounds differently.
//
// Rows are worked on in bands of four. Both passes run together, so that what the first leaves to
// the second is a few bands, which stay in the processor's cache.

#include <cmath>
#include <memory>
#include <vector>

#include "lanes.h"

namespace {

inline double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys' cubic with a = -0.5.
inline double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

enum Filter { kBilinear, kBicubic };

constexpr int kBand = 4;

// Which input samples the output samples [begin, end) are made of, and their weights, in groups of
// four neighbours, of which the first is a multiple of `step`, counted from `begin`.
struct Taps {
  int begin, end;          // of all input samples that are needed
  int groups = 0;          // of each output sample: as many as any needs
  std::vector<int> first;  // sample of the first group, from `begin`; padded to a multiple of four
  std::vector<Weights> weights;  // `groups` of each output sample

  Taps(Filter filter, int in_size, int out_size, int out_begin, int out_end, int step) {
    // Pillow keeps lengths as floats.
    const double scale = static_cast<double>(static_cast<float>(in_size)) / out_size;
    const double filter_scale = std::max(scale, 1.0);
    const double support = (filter == kBilinear ? 1.0 : 2.0) * filter_scale;
    const int size = out_end - out_begin, padded = (size + 3) / 4 * 4;
    std::vector<int> low(size), count(size);
    first.resize(padded);
    for (int i = 0; i < size; ++i) {
      const double center = (i + out_begin + 0.5) * scale;
      low[i] = std::max(static_cast<int>(center - support + 0.5), 0);
      count[i] = std::min(static_cast<int>(center + support + 0.5), in_size) - low[i];
      first[i] = (low[i] - low[0]) / step * step;
      groups = std::max(groups, (low[i] - low[0] - first[i] + count[i] + 3) / 4);
    }
    begin = low.front();
    end = low.back() + count.back();

    weights.resize(static_cast<size_t>(padded) * groups);
    std::vector<double> exact(4 * groups);
    const double inverse = 1.0 / filter_scale;
    for (int i = 0; i < size; ++i) {
      const double center = (i + out_begin + 0.5) * scale;
      double sum = 0.0;
      for (int k = 0; k < count[i]; ++k) {
        const double x = (k + low[i] - center + 0.5) * inverse;
        exact[k] = filter == kBilinear ? bilinear(x) : bicubic(x);
        sum += exact[k];
      }
      Weights* group = &weights[static_cast<size_t>(i) * groups];
      const int skipped = low[i] - begin - first[i];
      for (int k = 0; k < count[i]; ++k) {
        const double w = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << kWeightBits);
        const int place = skipped + k;
        group[place / 4].set(place % 4, static_cast<int>(w < 0 ? w - 0.5 : w + 0.5));
      }
    }
  }

  int length() const { return end - begin; }
};

// Memory that is not cleared.
struct Buffer {
  std::unique_ptr<uint8_t[]> memory;

  explicit Buffer(int64_t size) : memory(new uint8_t[size]) {}
  uint8_t* at(int64_t offset) const { return memory.get() + offset; }
};

int64_t round_up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

// Rows of pixels of 3 bytes, as many as a band.
struct PixelRows : Buffer {
  int64_t stride;

  explicit PixelRows(const Taps& across) : PixelRows(row_size(across)) {}
  uint8_t* row(int number) const { return at(number * stride); }

 private:
  explicit PixelRows(int64_t size) : Buffer(kBand * size), stride(size) {}

  // Groups go on after the last pixel, whose weights there are zero; four pixels are read as 16 bytes.
  static int64_t row_size(const Taps& across) {
    return round_up(3 * (across.length() + 4 * across.groups) + 4, 16);
  }
};

// Filters bands along their columns.
//   bands: `groups` of them, each of `size` bytes; out: a quarter as many.
template <int kGroups>
void sum_columns(const uint8_t* const* bands, const Weights* weights, int groups, int64_t size,
                 uint8_t* out) {
  // A loop of a fixed length over pointers that do not change leaves them and the weights in registers.
  const int count = kGroups ? kGroups : groups;
  const uint8_t* fixed_bands[kGroups ? kGroups : 1];
  Weights fixed_weights[kGroups ? kGroups : 1];
  if (kGroups) {
    std::copy_n(bands, count, fixed_bands);
    std::copy_n(weights, count, fixed_weights);
    bands = fixed_bands;
    weights = fixed_weights;
  }
  for (int64_t i = 0; i < size; i += 64, out += 16) {
    Sums sums;
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) sums.add(load_quads(bands[k] + i), weights[k]);
    store_sums(sums, out);
  }
}

// The same, by loops of a fixed length where there are few groups.
void sum_columns(const uint8_t* const* bands, const Weights* weights, int groups, int64_t size,
                 uint8_t* out) {
  switch (groups) {
    case 1: return sum_columns<1>(bands, weights, groups, size, out);
    case 2: return sum_columns<2>(bands, weights, groups, size, out);
    case 3: return sum_columns<3>(bands, weights, groups, size, out);
    default: return sum_columns<0>(bands, weights, groups, size, out);
  }
}

// The last bands of rows, as quads, that a row of the result is made of.
struct Bands : Buffer {
  int64_t size;  // in bytes, of a band
  int kept, done = 0;
  std::vector<const uint8_t*> from;  // the bands of the row that is being filtered

  // For rows of `length` bytes.
  Bands(int64_t length, const Taps& down)
      : Buffer(down.groups * round_up(kBand * length, 64)),
        size(round_up(kBand * length, 64)),
        kept(down.groups),
        from(down.groups) {}

  uint8_t* band(int number) const { return at(number % kept * size); }

  // Filters along the columns: gives the row `y` of the result, a quarter of `size` bytes.
  // `make(number, band)` is called for the bands that are new.
  template <typename Make>
  void filter(const Taps& down, int y, Make make, uint8_t* out) {
    const int first = down.first[y] / kBand, end = first + down.groups;
    for (; done < end; ++done) make(done, band(done));
    for (int number = first; number < end; ++number) from[number - first] = band(number);
    sum_columns(from.data(), &down.weights[static_cast<size_t>(y) * down.groups], down.groups, size,
                out);
  }
};

// Filters a band along its rows: gives three planes of quads, `plane` bytes apart.
template <int kGroups>
void filter_rows(const PixelRows& rows, const Taps& across, uint8_t* out, int64_t plane) {
  const int size = static_cast<int>(across.first.size());
  const int groups = kGroups ? kGroups : across.groups;
  const Weights* weights = across.weights.data();
  for (int x = 0; x < size; x += 4, weights += 4 * groups, out += 16) {
    Sums sums[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const uint8_t* pixels = rows.row(0) + 3 * across.first[x + i];
#pragma GCC unroll 4
      for (int k = 0; k < groups; ++k) {
        sums[i].add(load_pixels(pixels + 12 * k, rows.stride), weights[i * groups + k]);
      }
    }
    store_pixels(sums, out, plane);
  }
}

// The same, by a loop of a fixed length where there are few groups.
void filter_rows(const PixelRows& rows, const Taps& across, uint8_t* out, int64_t plane) {
  switch (across.groups) {
    case 1: return filter_rows<1>(rows, across, out, plane);
    case 2: return filter_rows<2>(rows, across, out, plane);
    case 3: return filter_rows<3>(rows, across, out, plane);
    default: return filter_rows<0>(rows, across, out, plane);
  }
}

struct Image {
  const uint8_t* pixels;  // (height, width, 3)
  int64_t stride;         // bytes from row to row
  int width, height;

  const uint8_t* at(int x, int y) const { return pixels + y * stride + 3 * x; }
};

// Where the result goes, row by row.
struct Output {
  int width, height;
  bool swap;
  uint8_t* bytes;
  float scale;
  const float *mean, *std;
  float* planes;

  // Takes a row as three planes, each of `plane` bytes.
  void put(int y, const uint8_t* row, int64_t plane) const {
    const uint8_t* channels[3];
    for (int c = 0; c < 3; ++c) channels[c] = row + (swap ? 2 - c : c) * plane;
    if (planes == nullptr) {
      interleave(channels, width, bytes + 3 * static_cast<int64_t>(y) * width);
      return;
    }
    for (int c = 0; c < 3; ++c) {
      const uint8_t* values = channels[c];
      const float m = mean[c], s = std[c];
      float* out = planes + (static_cast<int64_t>(c) * height + y) * width;
      for (int x = 0; x < width; ++x) out[x] = (values[x] * scale - m) / s;
    }
  }
};

void rows_first(const Image& image, const Taps& across, const Taps& down, const Output& output) {
  const int64_t plane = round_up(output.width, 16);
  PixelRows rows(across);
  Bands bands(3 * plane, down);
  Buffer row(3 * plane);
  const auto make = [&](int number, uint8_t* band) {
    for (int i = 0; i < kBand; ++i) {
      const int y = std::min(down.begin + number * kBand + i, image.height - 1);
      std::memcpy(rows.row(i), image.at(across.begin, y), 3 * across.length());
    }
    filter_rows(rows, across, band, kBand * plane);
  };
  for (int y = 0; y < output.height; ++y) {
    bands.filter(down, y, make, row.at(0));
    output.put(y, row.at(0), plane);
  }
}

void columns_first(const Image& image, const Taps& across, const Taps& down, const Output& output) {
  const int length = 3 * across.length();
  const int64_t plane = round_up(output.width, 16);
  PixelRows rows(across);
  Bands bands(length, down);
  Buffer narrow(3 * kBand * plane), row(3 * plane);
  const auto make = [&](int number, uint8_t* band) {
    for (int i = 0; i < kBand; ++i) {
      const int y = std::min(down.begin + number * kBand + i, image.height - 1);
      const uint8_t* in = image.at(across.begin, y);
      for (int x = 0; x < length; ++x) band[kBand * x + i] = in[x];
    }
  };
  for (int top = 0; top < output.height; top += kBand) {
    const int count = std::min(kBand, output.height - top);
    for (int i = 0; i < count; ++i) bands.filter(down, top + i, make, rows.row(i));
    filter_rows(rows, across, narrow.at(0), kBand * plane);
    for (int i = 0; i < count; ++i) {
      for (int64_t x = 0; x < 3 * plane; ++x) *row.at(x) = *narrow.at(kBand * x + i);
      output.put(top + i, row.at(0), plane);
    }
  }
}

}  // namespace

extern "C" {

// Resizes an image to out_width x out_height, and gives of the result the part
// [top, top + crop_height) x [left, left + crop_width).
//   pixels: (height, width, 3), rows `stride` bytes apart;
//   filter: 0 bilinear, 1 bicubic;
//   columns_first: filter along the columns before the rows;
//   swap: reverse the channels;
//   bytes: receives (crop_height, crop_width, 3), unless there are
//   planes: receives (3, crop_height, crop_width), (value * scale - mean[c]) / std[c] in float.
void ppcls_resample(const uint8_t* pixels, int64_t stride, int width, int height, int filter,
                    int first_columns, int out_width, int out_height, int left, int top,
                    int crop_width, int crop_height, int swap, uint8_t* bytes, float scale,
                    const float* mean, const float* std, float* planes) {
  const Taps across(static_cast<Filter>(filter), width, out_width, left, left + crop_width, 1);
  const Taps down(static_cast<Filter>(filter), height, out_height, top, top + crop_height, kBand);
  const Image image{pixels, stride, width, height};
  const Output output{crop_width, crop_height, swap != 0, bytes, scale, mean, std, planes};
  (first_columns ? columns_first : rows_first)(image, across, down, output);
}
}

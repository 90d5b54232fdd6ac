// scale.cu - what the preparing reads need of a table: range of each feature, facts of the weights, the centred copy.
//
// Computes   scan_rows<T, ROW_MAJOR>    minimum and maximum of each feature over the rows that count, how many of all its
//                                       values are not finite, and, if asked for, the float32 copy to feature-major
//            range_merge                the same over all blocks
//            weigh_rows                 facts of the weights: gpuseg.core.weights.WeightRange
//            centre_rows<T, ROW_MAJOR>  out[f, i] = float32(float64(source[i, f]) - shift[f]), each rounded to nearest
// Inputs     source   T = float or double: [n, d] where ROW_MAJOR, else [d, n]; C order
//            w        float64 [n], read if `weighted`: a row counts if its weight rounds to a float32 above 0
//            shift    float64 [d]
// Outputs    low, high, bad      float64, float64, int64 [d, gridDim.x] of scan_rows, [d] of range_merge; NaN is in no
//                                range, an infinity is; (inf, -inf) where no row counts
//            out      float32 [d, n]
//            facts    uint64 [5], zero at first: rows that count, bad weights, weights that are not integers below 2^31,
//                     sum of those that are, bits of the largest weight as float64
// Launch     WARPS warps a block; grid.x over tiles of tile_rows rows (a multiple of 32), grid.y over tiles of TILE_FEATURES
//            features, both stride. Shared bytes, with p = `pitch` >= tile_rows: sizeof(T) p min(d, TILE_FEATURES) where
//            ROW_MAJOR; and tile_rows more for scan_rows. range_merge: a warp a feature. weigh_rows: BLOCK_SUM_BYTES (512).
// Order      none that matters: minimum, maximum, integer sums; a warp owns a feature. Of two zeros either may be the minimum.
// Bytes      sizeof(T) n d, 4 n d for the copy, and 8 n of weights once a tile of features. A row-major table goes through
//            shared memory, so that reads and writes both run along neighbours.
// Limits     n < 2^32 for weigh_rows, d < 2^26
#include "common.cuh"

#ifndef WARPS  // warps a block
#define WARPS 8
#endif

enum { OWN = 4, TILE_FEATURES = OWN * WARPS };  // features that a warp, and a block, takes at a time

// One tile of a table: its first row and feature, and how many of each it has.
struct Tile {
    i64 row;
    i32 rows, feature, features;
};

__device__ inline Tile tile_at(i64 row, i32 tile_rows, i64 n, i32 feature, i32 d) {
    return Tile{row, (i32)min(n - row, (i64)tile_rows), feature, min(d - feature, (i32)TILE_FEATURES)};
}

// values[f * pitch + r] = source[row + r, feature + f]: neighbours read along a row of the table.
template <typename T>
__device__ inline void gather_tile(const T* source, i32 d, Tile tile, i32 pitch, T* values) {
    u32 wide = (u32)tile.features;
    u32 count = wide * (u32)tile.rows;
    for (u32 t = threadIdx.x; t < count; t += blockDim.x) {
        u32 r = t / wide;
        u32 f = t - r * wide;
        values[f * pitch + r] = source[(tile.row + r) * d + tile.feature + f];
    }
}

template <typename T, bool ROW_MAJOR>
__device__ inline T value_at(const T* source, i64 n, Tile tile, i32 pitch, const T* values, i32 f, i32 r) {
    return ROW_MAJOR ? values[f * pitch + r] : source[(tile.feature + f) * n + tile.row + r];
}

__device__ inline bool counting(double weight) { return __double2float_rn(weight) > 0.0f; }

__device__ inline bool is_finite(double value) { return fabs(value) <= 1.7976931348623157e308; }

template <typename T> struct Range {
    T low, high;
    i64 bad;

    __device__ static Range of_nothing() {
        T infinity = (T)__longlong_as_double(0x7ff0000000000000ll);
        return Range{infinity, -infinity, 0};
    }
    __device__ void add(T least, T most) {  // a NaN is neither less nor more
        if (least < low) low = least;
        if (most > high) high = most;
    }
    __device__ void add_lanes() {  // lane 0 gets the range of all
        for (i32 offset = WARP / 2; offset > 0; offset /= 2) {
            T least = __shfl_down_sync(FULL_WARP, low, offset);
            T most = __shfl_down_sync(FULL_WARP, high, offset);
            add(least, most);
            bad += __shfl_down_sync(FULL_WARP, bad, offset);
        }
    }
};

template <typename T, bool ROW_MAJOR>
__global__ void scan_rows(const T* __restrict__ source, i64 n, i32 d, const double* __restrict__ w, i32 weighted,
                          i32 tile_rows, i32 pitch, float* out, i32 copy, double* low, double* high, i64* bad) {
    unsigned char* counts = shared_bytes();
    T* values = (T*)(shared_bytes() + tile_rows);
    i32 lane = threadIdx.x % WARP;
    i32 warp = threadIdx.x / WARP;
    for (i32 feature = blockIdx.y * TILE_FEATURES; feature < d; feature += gridDim.y * TILE_FEATURES) {
        Range<T> range[OWN];
#pragma unroll
        for (i32 j = 0; j < OWN; ++j) range[j] = Range<T>::of_nothing();

        for (i64 row = first_tile(tile_rows); row < n; row += tile_step(tile_rows)) {
            Tile tile = tile_at(row, tile_rows, n, feature, d);
            for (i32 r = threadIdx.x; r < tile.rows; r += blockDim.x) counts[r] = !weighted || counting(w[row + r]);
            if (ROW_MAJOR) gather_tile(source, d, tile, pitch, values);
            __syncthreads();
#pragma unroll
            for (i32 j = 0; j < OWN; ++j) {
                i32 f = warp + j * WARPS;
                if (f >= tile.features) continue;
                for (i32 r = lane; r < tile.rows; r += WARP) {
                    T value = value_at<T, ROW_MAJOR>(source, n, tile, pitch, values, f, r);
                    if (copy) out[(feature + f) * n + row + r] = (float)value;
                    if (counts[r]) range[j].add(value, value);
                    if (!is_finite(value)) range[j].bad += 1;
                }
            }
            __syncthreads();
        }

#pragma unroll
        for (i32 j = 0; j < OWN; ++j) {
            range[j].add_lanes();
            i32 f = feature + warp + j * WARPS;
            if (lane != 0 || f >= d) continue;
            i64 at = partial_at(f);
            low[at] = range[j].low, high[at] = range[j].high, bad[at] = range[j].bad;
        }
    }
}

template __global__ void scan_rows<float, true>(const float*, i64, i32, const double*, i32, i32, i32, float*, i32, double*,
                                                double*, i64*);
template __global__ void scan_rows<float, false>(const float*, i64, i32, const double*, i32, i32, i32, float*, i32,
                                                 double*, double*, i64*);
template __global__ void scan_rows<double, true>(const double*, i64, i32, const double*, i32, i32, i32, float*, i32,
                                                 double*, double*, i64*);
template __global__ void scan_rows<double, false>(const double*, i64, i32, const double*, i32, i32, i32, float*, i32,
                                                  double*, double*, i64*);

// low, high, bad[feature] = the range over partial_...[feature, 0 .. blocks): one warp a feature.
extern "C" __global__ void range_merge(const double* __restrict__ partial_low, const double* __restrict__ partial_high,
                                       const i64* __restrict__ partial_bad, i64 blocks, double* low, double* high,
                                       i64* bad) {
    i64 row = blockIdx.x * blocks;
    Range<double> range = Range<double>::of_nothing();
    for (u32 b = threadIdx.x; b < blocks; b += WARP) {
        range.add(partial_low[row + b], partial_high[row + b]);
        range.bad += partial_bad[row + b];
    }
    range.add_lanes();
    if (threadIdx.x == 0) low[blockIdx.x] = range.low, high[blockIdx.x] = range.high, bad[blockIdx.x] = range.bad;
}

template <typename T, bool ROW_MAJOR>
__global__ void centre_rows(const T* __restrict__ source, i64 n, i32 d, const double* __restrict__ shift, i32 tile_rows,
                            i32 pitch, float* out) {
    T* values = (T*)shared_bytes();
    for (i32 feature = blockIdx.y * TILE_FEATURES; feature < d; feature += gridDim.y * TILE_FEATURES) {
        for (i64 row = first_tile(tile_rows); row < n; row += tile_step(tile_rows)) {
            Tile tile = tile_at(row, tile_rows, n, feature, d);
            if (ROW_MAJOR) {
                gather_tile(source, d, tile, pitch, values);
                __syncthreads();
            }
            for (i32 f = threadIdx.x / WARP; f < tile.features; f += WARPS) {
                double middle = shift[feature + f];
                for (i32 r = threadIdx.x % WARP; r < tile.rows; r += WARP) {
                    double value = value_at<T, ROW_MAJOR>(source, n, tile, pitch, values, f, r);
                    out[(feature + f) * n + row + r] = __double2float_rn(__dsub_rn(value, middle));
                }
            }
            if (ROW_MAJOR) __syncthreads();
        }
    }
}

template __global__ void centre_rows<float, true>(const float*, i64, i32, const double*, i32, i32, float*);
template __global__ void centre_rows<float, false>(const float*, i64, i32, const double*, i32, i32, float*);
template __global__ void centre_rows<double, true>(const double*, i64, i32, const double*, i32, i32, float*);
template __global__ void centre_rows<double, false>(const double*, i64, i32, const double*, i32, i32, float*);

// Words of the facts, uint64 (gpuseg.engines.device.scale).
enum Fact { POSITIVE = 0, BAD = 1, BROKEN = 2, TOTAL = 3, LARGEST = 4 };

__device__ inline void add_block(u64* word, u64 value, Wide* scratch) {
    Wide sum = block_sum(Wide{0, value}, scratch);
    if (threadIdx.x == 0 && sum.lo != 0) atomicAdd(word, sum.lo);
}

extern "C" __global__ void weigh_rows(const double* __restrict__ w, i64 n, u64* facts) {
    Wide* scratch = (Wide*)shared_bytes();
    u64 positive = 0, bad = 0, broken = 0, total = 0;
    double largest = 0.0;
    for (i64 i = first_row(); i < n; i += row_step()) {
        double weight = w[i];
        if (!is_finite(weight) || weight < 0.0) {
            bad += 1;
            continue;
        }
        positive += counting(weight);
        if (weight > largest) largest = weight;
        if (weight < 2147483648.0 && weight == rint(weight))
            total += (u64)weight;
        else
            broken += 1;
    }
    add_block(facts + POSITIVE, positive, scratch);
    add_block(facts + BAD, bad, scratch);
    add_block(facts + BROKEN, broken, scratch);
    add_block(facts + TOTAL, total, scratch);
    for (i32 offset = WARP / 2; offset > 0; offset /= 2) {
        double other = __shfl_down_sync(FULL_WARP, largest, offset);
        if (other > largest) largest = other;
    }
    // Not below 0, so its bits are ordered as it is.
    if (threadIdx.x % WARP == 0) atomicMax(facts + LARGEST, (u64)__double_as_longlong(largest));
}

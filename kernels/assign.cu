// assign.cu - one pass of Lloyd's algorithm over a block, several models over one read of x: nearest centre, exact sums.
//
// Computes   see assign.cuh. For what fits shared memory, FEATURES <= 64.
// Inputs     x        float32 [d, n]     feature-major; features lie `stride` elements apart, stride >= n
//            w        int64 or float32 [n]; not read under NONE
//            centres  float32 [groups, d, K_TILE]: a model's centres in groups of K_TILE, filled up with infinity,
//                     which is nearest to nothing
//            scale    float64 [d], powers of two
//            models   Model [n_models]
// Outputs    labels   uint8, uint16 or int32 [.., n]: row Model.label_row; read under Model.known, written where it changed
//            distance float32 [n]        chain d2 to the own centre, under WANT_DISTANCE (one model)
//            partial  int64 [gridDim.x, planes, entries], for assign_merge
//            error    uint32 [1], bits of common.cuh; never cleared here
// Launch     blocks of whole warps, 1-D, grid.x over rows in a grid-stride loop; ROWS rows a thread. Shared bytes:
//            gpuseg.engines.device.assign_plan, which mirrors the layout below.
// Order      none that matters (assign.cuh): sums by 32-bit atomics in shared memory.
// Bytes      4 n d, weights (8 n or 4 n), and a model: its labels once (twice where remembered), 4 n for distances; centres
//            and 8 bytes an entry (16 under INTEGER) once a block.
#include "assign.cuh"

#ifndef FEATURES  // a row's values stay in registers
#define FEATURES 16
#define ALONE  // compiled by hand: instantiate what the engine asks for by name
#endif
#ifndef ROWS  // rows of a thread: a centre's value, once loaded, serves them all
#define ROWS 4
#endif
#ifndef K_TILE  // centres at a time, whose chains run side by side
#define K_TILE 4
#endif
// From sm_100 on the compiler keeps every value twice, for instructions on pairs, unless registers are few: where a
// block may have 320 threads, it makes do with 168.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 && FEATURES > 8
#define BOUNDS __launch_bounds__(320)
#else
#define BOUNDS
#endif

template <i32 MODE, class Label>
__global__ BOUNDS void assign_rows(const float* __restrict__ x, const typename WeightOf<MODE>::type* __restrict__ w,
                                   i64 n, i64 stride, const float* __restrict__ centres, i32 groups, i32 clusters,
                                   const double* __restrict__ scale, const i64* __restrict__ models, i32 n_models,
                                   i32 wants, i32 copies, i32 window, Label* labels, float* distance, i64* partial,
                                   u32* error) {
    typedef typename WeightOf<MODE>::type Weight;
    u32 errors = 0;
    const float infinity = __uint_as_float(0x7f800000u);
    // Of a cluster: an odd number, so that neighbouring clusters start in different banks of shared memory.
    const i32 entries = wants & WANT_SUMS ? (FEATURES + mass_entries(MODE)) | 1 : 0;
    const i32 extras = extras_of(wants);
    const i32 all = clusters * entries + n_models * extras;

    float* centre = (float*)shared_bytes();
    Model* model = (Model*)(centre + groups * FEATURES * K_TILE);
    double* scales = (double*)(model + n_models);
    Ledger<MODE> ledger;
    ledger.begin(scales + even(FEATURES), 0, all, copies, window);
    copy_to_shared(centre, centres, groups * FEATURES * K_TILE);
    copy_to_shared((i64*)model, models, n_models * (i32)(sizeof(Model) / sizeof(i64)));
    copy_to_shared(scales, scale, FEATURES);
    __syncthreads();

    const i32 tile = (i32)blockDim.x * ROWS;
    for (i64 low = first_tile(tile); low < n; low += tile_step(tile)) {
        ledger.make_room(tile);
        float value[ROWS][FEATURES];
        Weight weight[ROWS];
#pragma unroll
        for (i32 r = 0; r < ROWS; ++r) {
            i64 i = low + r * blockDim.x + threadIdx.x;
            weight[r] = i < n ? weight_of<MODE>(w, i, errors) : (Weight)0;
#pragma unroll
            for (i32 f = 0; f < FEATURES; ++f) value[r][f] = i < n ? x[f * stride + i] : 0.0f;
        }
        for (i32 m = 0; m < n_models; ++m) {
            const Model one = model[m];
            float best[ROWS];
            i32 label[ROWS];
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) best[r] = infinity, label[r] = 0;
            const float* group = centre + one.group * (FEATURES * K_TILE);
            for (i32 c = 0; c < (i32)one.k; c += K_TILE, group += FEATURES * K_TILE) {
                float acc[ROWS][K_TILE];
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r)
#pragma unroll
                    for (i32 t = 0; t < K_TILE; ++t) acc[r][t] = 0.0f;
#pragma unroll
                for (i32 f = 0; f < FEATURES; ++f)
#pragma unroll
                    for (i32 r = 0; r < ROWS; ++r) chain_tile<K_TILE>(value[r][f], group + f * K_TILE, acc[r]);
#pragma unroll
                for (i32 r = 0; r < ROWS; ++r) nearest_of<K_TILE>(acc[r], c, best[r], label[r]);
            }

            const i32 extra = clusters * entries + m * extras;
#pragma unroll
            for (i32 r = 0; r < ROWS; ++r) {
                i64 i = low + r * blockDim.x + threadIdx.x;
                Label* at = labels + one.label_row * n + i;
                i32 old = i < n && one.known ? (i32)*at : -1;
                bool moved = i < n && old != label[r];
                if (moved) *at = (Label)label[r];
                if (i < n && wants & WANT_DISTANCE) distance[i] = best[r];
                add_votes(ledger, extra, moved);
                if (wants & WANT_INERTIA) add_inertia(ledger, extra + 1, best[r], weight[r], errors);
                if (!(wants & WANT_SUMS) || !moved || weight[r] == 0) continue;
                i32* to = ledger.mine() + ((i32)one.cluster + label[r]) * entries;
                i32* from = ledger.mine() + ((i32)one.cluster + old) * entries;
#pragma unroll
                for (i32 f = 0; f < FEATURES; ++f) {
                    auto term = total_term<MODE>(value[r][f], weight[r], scales[f], errors);
                    ledger.put(to + f, term);
                    if (old >= 0) ledger.put(from + f, negative(term));
                }
                put_mass(ledger, to + FEATURES, old >= 0 ? from + FEATURES : nullptr, weight[r]);
            }
        }
    }
    ledger.close(partial);
    if (errors != 0) raise_error(error, errors);
}

#ifdef ALONE
#define INSTANTIATE(MODE)                                                                                              \
    template __global__ void assign_rows<MODE, u8>(const float*, const WeightOf<MODE>::type*, i64, i64, const float*,  \
                                                   i32, i32, const double*, const i64*, i32, i32, i32, i32, u8*,       \
                                                   float*, i64*, u32*);
INSTANTIATE(NONE)
INSTANTIATE(INTEGER)
INSTANTIATE(REAL)
#endif

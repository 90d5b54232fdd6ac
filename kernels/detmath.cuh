// detmath.cuh - log, log1p, exp2 in float64: gpuseg/core/detmath.py, the same operations in the same order.
//
// The derivation and the measured accuracy stand there; a change here without the same change there is a wrong answer.
// Only + - x / rounded to nearest (intrinsics: nothing is contracted into an fma), comparisons and bits.
#pragma once

#include "common.cuh"

__device__ inline double d_add(double a, double b) { return __dadd_rn(a, b); }
__device__ inline double d_sub(double a, double b) { return __dsub_rn(a, b); }
__device__ inline double d_mul(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double d_div(double a, double b) { return __ddiv_rn(a, b); }
__device__ inline double d_step(double c, double z, double r) { return d_add(c, d_mul(z, r)); }  // one step of Horner
__device__ inline double d_of(u64 bits) { return __longlong_as_double((i64)bits); }
__device__ inline double d_top(double v) { return d_of((u64)__double_as_longlong(v) & ~(u64)0x7ffffff); }

#define DETMATH_NAN d_of(0x7ff8000000000000ull)
#define DETMATH_INF d_of(0x7ff0000000000000ull)
#define DETMATH_ROOT_HALF_BITS 0x3fe6a09e667f3bcdll
#define DETMATH_LN2_HI d_of(0x3fe62e42fefa3000ull)
#define DETMATH_LN2_LO d_of(0x3d53de6af278ece6ull)
#define DETMATH_LN2_TOP d_of(0x3fe62e42f0000000ull)
#define DETMATH_LN2_REST d_of(0x3e5df473de6af279ull)
#define DETMATH_LN2 d_of(0x3fe62e42fefa39efull)

// k ln 2 + log(1 + f) + correction: the common end of log and log1p.
__device__ inline double det_log_sum(double k, double f, double correction, bool corrected) {
    double s = d_div(f, d_add(2.0, f));
    double z = d_mul(s, s);
    double r = d_step(2.0 / 21.0, z, d_step(2.0 / 23.0, z, 2.0 / 25.0));
    r = d_step(2.0 / 15.0, z, d_step(2.0 / 17.0, z, d_step(2.0 / 19.0, z, r)));
    r = d_step(2.0 / 9.0, z, d_step(2.0 / 11.0, z, d_step(2.0 / 13.0, z, r)));
    r = d_mul(z, d_step(2.0 / 3.0, z, d_step(2.0 / 5.0, z, d_step(2.0 / 7.0, z, r))));

    double f_top = d_top(f);
    double h_top = d_mul(0.5, d_mul(f_top, f_top));
    double h_rest = d_mul(0.5, d_mul(d_sub(f, f_top), d_add(f, f_top)));

    double base = d_mul(k, DETMATH_LN2_HI);
    double first = d_add(base, f);
    double first_error = d_sub(f, d_sub(first, base));
    double second = d_sub(first, h_top);
    double second_error = d_sub(d_sub(first, second), h_top);
    double small = d_sub(d_mul(s, d_add(d_add(h_top, h_rest), r)), h_rest);
    small = d_add(small, d_mul(k, DETMATH_LN2_LO));
    if (corrected) small = d_add(small, correction);
    return d_add(second, d_add(second_error, d_add(first_error, small)));
}

__device__ inline double det_log(double x) {
    if (!(x > 0.0 && x < DETMATH_INF)) return x == 0.0 ? -DETMATH_INF : x == DETMATH_INF ? x : DETMATH_NAN;
    bool subnormal = x < d_of(0x0010000000000000ull);
    i64 bits = __double_as_longlong(d_mul(x, subnormal ? 4503599627370496.0 : 1.0));
    i64 exponent = (bits - DETMATH_ROOT_HALF_BITS) >> 52;
    double f = d_sub(d_of((u64)bits - ((u64)exponent << 52)), 1.0);
    return det_log_sum(__ll2double_rn(exponent - (subnormal ? 52 : 0)), f, 0.0, false);
}

__device__ inline double det_log1p(double x) {
    if (!(x > -1.0 && x < DETMATH_INF)) return x == -1.0 ? -DETMATH_INF : x == DETMATH_INF ? x : DETMATH_NAN;
    if (x == 0.0) return x;
    double u = d_add(1.0, x);
    double added = d_sub(u, 1.0);
    double lost = d_add(d_sub(1.0, d_sub(u, added)), d_sub(x, added));
    i64 bits = __double_as_longlong(u);
    i64 exponent = (bits - DETMATH_ROOT_HALF_BITS) >> 52;
    bool far = x <= -0.2928932188134524 || x >= 0.41421356237309503;
    double f = far ? d_sub(d_of((u64)bits - ((u64)exponent << 52)), 1.0) : x;
    return det_log_sum(__ll2double_rn(far ? exponent : 0), f, far ? d_div(lost, u) : 0.0, true);
}

__device__ inline double det_exp2(double x) {
    if (x != x) return DETMATH_NAN;
    x = min(max(x, -1076.0), 1024.0);  // where 2^x is 0 and infinite already
    double rounded = d_add(x, 6755399441055744.0);
    i64 n = __double_as_longlong(rounded) - 0x4338000000000000ll;
    double f = d_sub(x, d_sub(rounded, 6755399441055744.0));

    double f_top = d_top(f);
    double y_top = d_mul(f_top, DETMATH_LN2_TOP);
    double y_rest = d_add(d_mul(f_top, DETMATH_LN2_REST), d_mul(d_sub(f, f_top), DETMATH_LN2));
    double y = d_add(y_top, y_rest);

    double q = d_step(1.0 / 87178291200.0, y, 1.0 / 1307674368000.0);
    q = d_step(1.0 / 479001600.0, y, d_step(1.0 / 6227020800.0, y, q));
    q = d_step(1.0 / 40320.0, y, d_step(1.0 / 362880.0, y, d_step(1.0 / 3628800.0, y, d_step(1.0 / 39916800.0, y, q))));
    q = d_step(1.0 / 24.0, y, d_step(1.0 / 120.0, y, d_step(1.0 / 720.0, y, d_step(1.0 / 5040.0, y, q))));
    q = d_mul(d_mul(y, y), d_step(0.5, y, d_step(1.0 / 6.0, y, q)));

    double first = d_add(1.0, y_top);
    double first_error = d_sub(y_top, d_sub(first, 1.0));
    double power = d_add(first, d_add(first_error, d_add(y_rest, q)));

    i64 half = n >> 1;
    double scaled = d_mul(power, d_of((u64)(half + 1023) << 52));
    return d_mul(scaled, d_of((u64)(n - half + 1023) << 52));
}

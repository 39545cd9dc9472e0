/* draw.c - the drawing of a case.
 *
 * Body coordinates: the middle of the chest is (0, 0), x grows to the right of the picture (the patient's left), y
 * grows downwards, the chest wall is near |x| = 0.85.  `u` is the distance from the midline (sign * x), so one formula
 * draws both lungs.  A pixel's brightness is what lies in the beam there: air is dark, bone and metal are bright.
 *
 *      y -0.95  neck, tube, clavicles          shade_* functions: a value per pixel, from regions
 *        -0.74  apex of the lung               stroke_*, disc:    shapes added over a bounding box
 *        -0.30  carina, hila                   expose:            gain, gamma, noise, rounding
 *        +0.50  diaphragm
 */
#include "tools/phantom/phantom.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_ANATOMY = 2, STREAM_NOISE = 3, N_RIBS = 8, N_VESSELS = 9, N_BLOBS = 6 };

typedef struct point {
    float x, y;
} point;

/* What varies from one body to the next. */
typedef struct anatomy {
    float lung_width;   /* of the widest place, from the midline */
    float diaphragm[2]; /* height of the dome: patient's right, left */
    float heart_width;  /* half of the transverse diameter */
    float rib_top;      /* y of the first rib at the spine */
    float rib_gap;      /* from one rib to the next */
    float rib_contrast;
    float texture;     /* strength of the vessels */
    float exposure[3]; /* offset, gain, curvature */
    float tilt[2];     /* brightness slopes over the picture */
    float noise;
    int broken_rib;
    float break_at; /* distance of the fracture from the midline */
} anatomy;

typedef struct canvas {
    float *value;    /* [height][width], about 0..1 */
    float *coverage; /* [height][width] scratch of one stroke, zero between strokes */
    uint32_t *labels;
    int width, height;
    float scale; /* pixels per body unit */
    float centre_x, centre_y;
    float cosine, sine; /* the slight turn of the patient */
} canvas;

static float clamp01(float v)
{
    return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}

/* 0 below `low`, 1 above `high`, smooth between. */
static float ramp(float low, float high, float v)
{
    float t = clamp01((v - low) / (high - low));
    return t * t * (3.0f - 2.0f * t);
}

static float sign_of(uint8_t side)
{
    return side == PHANTOM_RIGHT ? -1.0f : 1.0f;
}

static point to_body(const canvas *c, float px, float py)
{
    float x = (px - c->centre_x) / c->scale, y = (py - c->centre_y) / c->scale;
    return (point){c->cosine * x + c->sine * y, -c->sine * x + c->cosine * y};
}

static point to_pixel(const canvas *c, point p)
{
    return (point){c->centre_x + c->scale * (c->cosine * p.x - c->sine * p.y),
                   c->centre_y + c->scale * (c->sine * p.x + c->cosine * p.y)};
}

/* ---------------------------------------------------------------------------------------------- anatomy */

static anatomy anatomy_of(const phantom_case *facts, phantom_rng *rng)
{
    static const float half_heart[] = {[PHANTOM_NONE] = 0.33f, [PHANTOM_SMALL] = 0.475f, [PHANTOM_LARGE] = 0.60f};
    anatomy a = {.lung_width = phantom_rng_between(rng, 0.76f, 0.82f),
                 .rib_top = phantom_rng_between(rng, -0.72f, -0.68f),
                 .rib_gap = phantom_rng_between(rng, 0.150f, 0.162f),
                 .rib_contrast = phantom_rng_between(rng, 0.13f, 0.17f),
                 .texture = phantom_rng_between(rng, 0.7f, 1.2f),
                 .noise = phantom_rng_between(rng, 0.01f, 0.03f)};
    a.diaphragm[0] = phantom_rng_between(rng, 0.42f, 0.48f);
    a.diaphragm[1] = a.diaphragm[0] + phantom_rng_between(rng, 0.02f, 0.07f);
    /* An AP picture magnifies the heart a little. */
    a.heart_width =
        half_heart[facts->heart] * phantom_rng_between(rng, 0.96f, 1.04f) * (facts->view == PHANTOM_AP ? 1.04f : 1.0f);
    a.exposure[0] = phantom_rng_between(rng, -0.03f, 0.05f);
    a.exposure[1] = phantom_rng_between(rng, 0.88f, 1.06f);
    a.exposure[2] = phantom_rng_between(rng, -0.35f, 0.35f);
    a.tilt[0] = phantom_rng_between(rng, -0.04f, 0.04f);
    a.tilt[1] = phantom_rng_between(rng, -0.04f, 0.04f);
    a.broken_rib = 1 + (int)phantom_rng_below(rng, 3); /* above the heart and most fluid */
    a.break_at = phantom_rng_between(rng, 0.48f, 0.58f);
    return a;
}

/* The outer edge of a lung at height y; 0 above the apex. */
static float lung_edge(const anatomy *a, float y)
{
    float t = (y - 0.32f) / 1.06f;
    float square = 1.0f - t * t;
    return square > 0.0f ? a->lung_width * sqrtf(square) : 0.0f;
}

static float diaphragm_at(const anatomy *a, uint8_t side, float u)
{
    float t = (u - 0.38f) / 0.42f;
    return a->diaphragm[side - PHANTOM_RIGHT] + 0.20f * t * t;
}

/* How much of the pixel is lung, 0..1, before anything fills it. */
static float lung_at(const anatomy *a, uint8_t side, float u, float y)
{
    float edge = lung_edge(a, y);
    float inner = 0.13f + 0.10f * ramp(-0.35f, -0.75f, y);
    float below = diaphragm_at(a, side, u);
    return ramp(0.0f, 0.03f, edge - u) * ramp(0.0f, 0.05f, u - inner) * ramp(0.0f, 0.025f, below - y);
}

/* Surface of the fluid: a meniscus that climbs at the chest wall. */
static float effusion_level(const anatomy *a, uint8_t side, uint8_t size, float u)
{
    static const float height[] = {0.0f, 0.13f, 0.42f, 0.78f};
    float t = u / a->lung_width;
    return a->diaphragm[side - PHANTOM_RIGHT] + 0.06f - height[size] - 0.22f * t * t * t;
}

/* Distance from the chest wall, measured sideways and, at the apex, upwards. */
static float depth_from_wall(const anatomy *a, float u, float y)
{
    float sideways = lung_edge(a, y) - u;
    float down = (y + 0.74f) * 1.2f;
    return sideways < down ? sideways : down;
}

static float pneumothorax_depth(uint8_t size, float y)
{
    float depth = size == PHANTOM_LARGE ? 0.30f : 0.15f;
    return depth * (1.0f - 0.55f * ramp(-0.2f, 0.5f, y)); /* air rises: widest at the apex */
}

/* ---------------------------------------------------------------------------------------------- regions */

/* Ribs run down and outwards from the spine; rib i passes (u, y) at rib_top + i * gap + bend(u). */
static float rib_bend(float u)
{
    return -0.06f + 0.10f * u + 0.20f * u * u;
}

/* What a fracture does to its rib at distance `u` from the midline. */
typedef struct rib_change {
    float slip;     /* the outer fragment has slipped down */
    float strength; /* fragments lie over each other and callus grows at the ends: denser */
    float thickness;
    float gap; /* 0 between the ends */
} rib_change;

static rib_change fracture_at(float from_break)
{
    float near = 1.0f - ramp(0.05f, 0.13f, fabsf(from_break));
    return (rib_change){.slip = from_break > 0.0f ? 0.085f : 0.0f,
                        .strength = (from_break > 0.0f ? 1.9f : 1.0f) + 1.1f * near,
                        .thickness = 1.0f + 0.35f * near,
                        .gap = ramp(0.020f, 0.032f, fabsf(from_break))};
}

static float shade_ribs(const anatomy *a, const phantom_case *facts, uint8_t side, float u, float y, uint32_t *labels)
{
    if (u > lung_edge(a, y) + 0.035f || u < 0.06f)
        return 0.0f;
    float best = 0.0f;
    for (int i = 0; i < N_RIBS; ++i) {
        rib_change change = {.slip = 0.0f, .strength = 1.0f, .thickness = 1.0f, .gap = 1.0f};
        bool broken = facts->fracture == side && i == a->broken_rib;
        if (broken)
            change = fracture_at(u - a->break_at);
        float off = fabsf(y - (a->rib_top + (float)i * a->rib_gap + rib_bend(u) + change.slip));
        if (broken && fabsf(u - a->break_at) < 0.15f && off < 0.08f)
            *labels |= 1u << (PHANTOM_FRACTURE_RIGHT + side - PHANTOM_RIGHT);
        if (off > 0.034f * change.thickness)
            continue;
        float here = ramp(0.034f, 0.018f, off / change.thickness) * change.gap * change.strength;
        best = here > best ? here : best;
    }
    return best * a->rib_contrast;
}

/* The brightness of one half of the chest at (u, y), heart and mediastinum not yet laid over it. */
static float shade_lung(const anatomy *a, const phantom_case *facts, uint8_t side, float u, float y, uint32_t *labels)
{
    const float soft = 0.60f, air = 0.22f;
    uint32_t offset = (uint32_t)side - PHANTOM_RIGHT;
    float lung = lung_at(a, side, u, y);
    float value = air;
    if (facts->pneumothorax == side && lung > 0.3f) {
        float inside = depth_from_wall(a, u, y) - pneumothorax_depth(facts->pneumothorax_size, y);
        value += -0.12f * ramp(0.01f, -0.01f, inside);
        value += 0.26f * ramp(0.017f, 0.006f, fabsf(inside)); /* the visceral pleura, seen edge-on */
        if (inside < 0.02f)
            *labels |= 1u << (PHANTOM_PNEUMOTHORAX_RIGHT + offset);
    }
    uint8_t effusion = side == PHANTOM_RIGHT ? facts->effusion_right : facts->effusion_left;
    if (effusion != PHANTOM_NONE) {
        float fluid = ramp(-0.02f, 0.03f, y - effusion_level(a, side, effusion, u));
        value += fluid * (0.60f - value);
        if (fluid > 0.5f && lung > 0.3f)
            *labels |= 1u << (PHANTOM_EFFUSION_RIGHT + offset);
    }
    return soft + lung * (value - soft);
}

/* Spine, great vessels and heart: how much of the pixel they fill. */
static float mediastinum_at(const anatomy *a, float x, float y, float *heart)
{
    float spine = ramp(0.15f, 0.09f, fabsf(x));
    float arch_x = (x - 0.13f) / 0.10f, arch_y = (y + 0.36f) / 0.10f;
    float arch = ramp(1.1f, 0.85f, arch_x * arch_x + arch_y * arch_y);
    /* Two thirds of the heart lie in the patient's left half. */
    float height = 0.21f + 0.36f * a->heart_width;
    float hx = (x - 0.30f * a->heart_width) / a->heart_width, hy = (y - 0.24f - 0.18f * hx * height) / height;
    *heart = ramp(1.08f, 0.90f, hx * hx + hy * hy);
    float most = spine > arch ? spine : arch;
    return most > *heart ? most : *heart;
}

static float shade_pixel(const anatomy *a, const phantom_case *facts, point p, uint32_t *labels)
{
    uint8_t side = p.x < 0.0f ? PHANTOM_RIGHT : PHANTOM_LEFT;
    float u = fabsf(p.x);
    float shoulder = 0.40f + 0.60f * ramp(-0.98f, -0.72f, p.y);
    float body = ramp(0.0f, 0.03f, shoulder - u + (p.y < -0.75f ? 0.0f : -0.07f * ramp(0.2f, 0.9f, p.y)));
    if (body <= 0.0f)
        return 0.02f;

    float value = shade_lung(a, facts, side, u, p.y, labels);
    value += shade_ribs(a, facts, side, u, p.y, labels);
    float heart;
    float middle = mediastinum_at(a, p.x, p.y, &heart);
    value += middle * 0.92f * ((heart > 0.5f ? 0.72f : 0.70f) - value);
    value += 0.07f * ramp(0.09f, 0.06f, u) * (p.y > -0.9f ? 1.0f : 0.0f); /* the spine shows through the heart */
    value -= 0.16f * ramp(0.045f, 0.03f, u) * ramp(-0.28f, -0.34f, p.y);  /* the trachea is air */
    if (facts->heart && heart > 0.5f)
        *labels |= 1u << PHANTOM_CARDIOMEGALY;
    return 0.02f + body * (value - 0.02f);
}

/* ---------------------------------------------------------------------------------------------- strokes */

typedef struct box {
    int x0, y0, x1, y1; /* half open */
} box;

/* The pixels within `reach` of a set of points, cut to the canvas. */
static box box_around(const canvas *c, const point *points, size_t n, float reach)
{
    float x0 = points[0].x, x1 = x0, y0 = points[0].y, y1 = y0;
    for (size_t i = 1; i < n; ++i) {
        x0 = points[i].x < x0 ? points[i].x : x0;
        x1 = points[i].x > x1 ? points[i].x : x1;
        y0 = points[i].y < y0 ? points[i].y : y0;
        y1 = points[i].y > y1 ? points[i].y : y1;
    }
    box b = {(int)(x0 - reach), (int)(y0 - reach), (int)(x1 + reach) + 2, (int)(y1 + reach) + 2};
    b.x0 = b.x0 < 0 ? 0 : b.x0;
    b.y0 = b.y0 < 0 ? 0 : b.y0;
    b.x1 = b.x1 > c->width ? c->width : b.x1;
    b.y1 = b.y1 > c->height ? c->height : b.y1;
    return b;
}

static float distance_to_segment(point p, point a, point b)
{
    float dx = b.x - a.x, dy = b.y - a.y;
    float length = dx * dx + dy * dy;
    float t = length > 0.0f ? clamp01(((p.x - a.x) * dx + (p.y - a.y) * dy) / length) : 0.0f;
    float ex = p.x - a.x - t * dx, ey = p.y - a.y - t * dy;
    return sqrtf(ex * ex + ey * ey);
}

static void cover_segment(canvas *c, point a, point b, float radius)
{
    box area = box_around(c, (point[]){a, b}, 2, radius + 1.0f);
    for (int y = area.y0; y < area.y1; ++y)
        for (int x = area.x0; x < area.x1; ++x) {
            float off = distance_to_segment((point){(float)x, (float)y}, a, b);
            float cover = clamp01(radius + 0.5f - off);
            float *slot = &c->coverage[y * c->width + x];
            *slot = cover > *slot ? cover : *slot;
        }
}

/* Pull the covered pixels of an area towards `value` (strength 1: all the way) and mark them. */
static void commit(canvas *c, box area, float value, float strength, uint32_t mark)
{
    for (int y = area.y0; y < area.y1; ++y)
        for (int x = area.x0; x < area.x1; ++x) {
            int at = y * c->width + x;
            float cover = c->coverage[at];
            c->coverage[at] = 0.0f;
            c->value[at] += cover * strength * (value - c->value[at]);
            if (cover > 0.3f)
                c->labels[at] |= mark;
        }
}

/* A line of constant width through points in body coordinates, joints not doubled. */
static void stroke(canvas *c, const point *body, size_t n, float radius, float value, float strength, uint32_t mark)
{
    point pixel[8];
    for (size_t i = 0; i < n; ++i)
        pixel[i] = to_pixel(c, body[i]);
    float r = radius * c->scale;
    for (size_t i = 0; i + 1 < n; ++i)
        cover_segment(c, pixel[i], pixel[i + 1], r);
    commit(c, box_around(c, pixel, n, r + 1.0f), value, strength, mark);
}

/* A disc whose edge fades over the outer `fade` part of the radius; several may be covered before one commit. */
static box cover_disc(canvas *c, point body, float radius, float fade)
{
    point centre = to_pixel(c, body);
    float r = radius * c->scale;
    box area = box_around(c, &centre, 1, r + 1.0f);
    for (int y = area.y0; y < area.y1; ++y)
        for (int x = area.x0; x < area.x1; ++x) {
            float dx = (float)x - centre.x, dy = (float)y - centre.y;
            float cover = ramp(1.0f, 1.0f - fade, sqrtf(dx * dx + dy * dy) / r);
            float *slot = &c->coverage[y * c->width + x];
            *slot = cover > *slot ? cover : *slot;
        }
    return area;
}

/* --------------------------------------------------------------------------------------------- findings */

static void draw_vessels(canvas *c, const anatomy *a, const phantom_case *facts, phantom_rng *rng)
{
    for (uint8_t side = PHANTOM_RIGHT; side <= PHANTOM_LEFT; ++side) {
        float s = sign_of(side);
        for (int i = 0; i < N_VESSELS; ++i) {
            float reach = phantom_rng_between(rng, 0.20f, 0.42f);
            float rise = -0.75f + 1.5f * ((float)i + phantom_rng_between(rng, 0.0f, 1.0f)) / N_VESSELS;
            float bend = phantom_rng_between(rng, -0.06f, 0.06f);
            if (facts->pneumothorax == side)
                reach *= facts->pneumothorax_size == PHANTOM_LARGE ? 0.5f : 0.75f; /* no vessels outside the lung */
            point path[3] = {{s * 0.20f, -0.12f},
                             {s * (0.20f + 0.5f * reach), -0.12f + rise * reach * 0.5f + bend},
                             {s * (0.20f + reach), -0.12f + rise * reach}};
            stroke(c, path, 2, 0.012f, 0.60f, 0.22f * a->texture, 0);
            stroke(c, path + 1, 2, 0.007f, 0.60f, 0.18f * a->texture, 0);
        }
    }
}

/* AP pictures are taken in bed: shoulder blades lie over the lungs and the clavicles stand high and flat. */
static void draw_shoulders(canvas *c, const phantom_case *facts, phantom_rng *rng)
{
    bool ap = facts->view == PHANTOM_AP;
    float lift = phantom_rng_between(rng, -0.02f, 0.02f);
    for (uint8_t side = PHANTOM_RIGHT; side <= PHANTOM_LEFT; ++side) {
        float s = sign_of(side);
        point clavicle[3] = {{s * 0.10f, -0.66f + lift}, {s * 0.42f, -0.70f + lift}, {s * 0.80f, -0.80f + lift}};
        if (ap) {
            for (int i = 0; i < 3; ++i)
                clavicle[i].y = -0.80f + lift + 0.01f * (float)i;
            point blade[4] = {{s * 0.74f, -0.58f}, {s * 0.56f, -0.48f}, {s * 0.60f, -0.10f}, {s * 0.70f, 0.10f}};
            stroke(c, blade, 4, 0.022f, 0.75f, 0.30f, 0);
        }
        stroke(c, clavicle, 3, 0.028f, 0.80f, 0.42f, 0);
    }
}

static point zone_centre(uint8_t side, uint8_t zone, phantom_rng *rng)
{
    static const float y[] = {[PHANTOM_UPPER] = -0.46f, [PHANTOM_MIDDLE] = -0.12f, [PHANTOM_LOWER] = 0.24f};
    static const float u[] = {[PHANTOM_UPPER] = 0.36f, [PHANTOM_MIDDLE] = 0.47f, [PHANTOM_LOWER] = 0.54f};
    return (point){sign_of(side) * (u[zone] + phantom_rng_between(rng, -0.06f, 0.08f)),
                   y[zone] + phantom_rng_between(rng, -0.05f, 0.05f)};
}

/* An airspace opacity: a cloud of soft discs. */
static void draw_consolidation(canvas *c, const phantom_case *facts, phantom_rng *rng)
{
    if (facts->consolidation == PHANTOM_NO_SIDE)
        return;
    uint32_t mark = 1u << (PHANTOM_CONSOLIDATION_RIGHT + facts->consolidation - PHANTOM_RIGHT);
    point centre = zone_centre(facts->consolidation, facts->consolidation_zone, rng);
    float strength = phantom_rng_between(rng, 0.50f, 0.66f);
    for (int i = 0; i < N_BLOBS; ++i) {
        point at = {centre.x + phantom_rng_between(rng, -0.13f, 0.13f),
                    centre.y + phantom_rng_between(rng, -0.10f, 0.10f)};
        box area = cover_disc(c, at, phantom_rng_between(rng, 0.12f, 0.20f), 0.8f);
        commit(c, area, 0.60f, strength * 0.62f, mark);
    }
}

static void draw_nodule(canvas *c, const phantom_case *facts, phantom_rng *rng)
{
    if (facts->nodule == PHANTOM_NO_SIDE)
        return;
    bool large = facts->nodule_size == PHANTOM_LARGE;
    float radius = large ? phantom_rng_between(rng, 0.110f, 0.130f) : phantom_rng_between(rng, 0.058f, 0.070f);
    box area = cover_disc(c, zone_centre(facts->nodule, facts->nodule_zone, rng), radius, 0.25f);
    commit(c, area, 0.72f, 0.85f, 1u << (PHANTOM_NODULE_RIGHT + facts->nodule - PHANTOM_RIGHT));
}

static void draw_tube(canvas *c, const phantom_case *facts, phantom_rng *rng)
{
    float tip = phantom_rng_between(rng, -0.46f, -0.40f);
    float sway = phantom_rng_between(rng, -0.012f, 0.012f);
    if (!facts->tube)
        return;
    point left[2] = {{-0.028f + sway, -1.2f}, {-0.024f, tip}};
    point right[2] = {{0.028f + sway, -1.2f}, {0.024f, tip + 0.02f}};
    stroke(c, left, 2, 0.010f, 1.0f, 0.9f, 1u << PHANTOM_TUBE);
    stroke(c, right, 2, 0.010f, 1.0f, 0.9f, 1u << PHANTOM_TUBE);
}

/* From under the clavicle along the subclavian vein, then down the superior vena cava (right of the midline). */
static void draw_line(canvas *c, const phantom_case *facts, phantom_rng *rng)
{
    float tip = phantom_rng_between(rng, -0.16f, -0.06f);
    float entry = phantom_rng_between(rng, -0.04f, 0.04f);
    if (facts->line == PHANTOM_NO_SIDE)
        return;
    uint32_t mark = 1u << (PHANTOM_LINE_RIGHT + facts->line - PHANTOM_RIGHT);
    point right[5] = {
        {-0.74f, -0.46f + entry}, {-0.50f, -0.64f + entry}, {-0.24f, -0.60f}, {-0.14f, -0.44f}, {-0.13f, tip}};
    point left[6] = {{0.74f, -0.46f + entry}, {0.50f, -0.64f + entry}, {0.24f, -0.60f},
                     {0.04f, -0.50f},         {-0.10f, -0.40f},        {-0.13f, tip}};
    if (facts->line == PHANTOM_RIGHT)
        stroke(c, right, 5, 0.013f, 0.98f, 0.85f, mark);
    else
        stroke(c, left, 6, 0.013f, 0.98f, 0.85f, mark);
}

/* A can below the clavicle and a lead to the tip of the right ventricle. */
static void draw_pacemaker(canvas *c, const phantom_case *facts, phantom_rng *rng)
{
    point can = {phantom_rng_between(rng, 0.62f, 0.68f), phantom_rng_between(rng, -0.50f, -0.44f)};
    if (facts->pacemaker == PHANTOM_NO_SIDE)
        return;
    uint32_t mark = 1u << (PHANTOM_PACEMAKER_RIGHT + facts->pacemaker - PHANTOM_RIGHT);
    float s = sign_of(facts->pacemaker);
    can.x *= s;
    point lead[6] = {can, {s * 0.42f, -0.58f}, {s * 0.16f, -0.52f}, {-0.10f, -0.30f}, {-0.06f, 0.10f}, {0.18f, 0.32f}};
    stroke(c, lead, 6, 0.010f, 0.98f, 0.85f, mark);
    point body[2] = {{can.x - 0.035f, can.y}, {can.x + 0.035f, can.y + 0.02f}};
    stroke(c, body, 2, 0.085f, 0.97f, 0.95f, mark);
}

/* The side marker of the technician: an R by the patient's right shoulder, "AP" under it when taken in bed. */
static void draw_marker(canvas *c, const phantom_case *facts)
{
    const float x = -0.97f, y = -0.90f, h = 0.09f, w = 0.05f, r = 0.010f;
    point letter_r[6] = {{x, y + h},        {x, y},        {x + w, y + 0.2f * h}, {x + w, y + 0.4f * h},
                         {x, y + 0.5f * h}, {x + w, y + h}};
    stroke(c, letter_r, 6, r, 0.95f, 0.9f, 0);
    if (facts->view != PHANTOM_AP)
        return;
    float top = y + 1.5f * h;
    point letter_a[5] = {{x, top + h},
                         {x + 0.5f * w, top},
                         {x + w, top + h},
                         {x + 0.75f * w, top + 0.6f * h},
                         {x + 0.25f * w, top + 0.6f * h}};
    float q = x + 1.7f * w;
    point letter_p[5] = {
        {q, top + h}, {q, top}, {q + w, top + 0.15f * h}, {q + w, top + 0.45f * h}, {q, top + 0.55f * h}};
    stroke(c, letter_a, 5, r, 0.95f, 0.9f, 0);
    stroke(c, letter_p, 5, r, 0.95f, 0.9f, 0);
}

/* --------------------------------------------------------------------------------------------- exposure */

static void shade(canvas *c, const anatomy *a, const phantom_case *facts)
{
    for (int y = 0; y < c->height; ++y)
        for (int x = 0; x < c->width; ++x) {
            point p = to_body(c, (float)x, (float)y);
            int at = y * c->width + x;
            c->value[at] = shade_pixel(a, facts, p, &c->labels[at]);
        }
}

/* Film curve, uneven illumination and quantum noise (the sum of four uniforms is close to normal). */
static void expose(const canvas *c, const anatomy *a, phantom_rng *rng, phantom_image *out)
{
    for (int y = 0; y < c->height; ++y)
        for (int x = 0; x < c->width; ++x) {
            uint64_t bits = phantom_rng_next(rng);
            float sum = (float)(bits & 0xffff) + (float)(bits >> 16 & 0xffff) + (float)(bits >> 32 & 0xffff) +
                        (float)(bits >> 48);
            float grain = (sum * (1.0f / 65536.0f) - 2.0f) * 1.7f * a->noise;
            float v = c->value[y * c->width + x];
            v += v * (1.0f - v) * a->exposure[2];
            v = a->exposure[0] + a->exposure[1] * v + grain;
            v += a->tilt[0] * ((float)x / (float)c->width - 0.5f) + a->tilt[1] * ((float)y / (float)c->height - 0.5f);
            out->pixels[y * c->width + x] = (uint16_t)(clamp01(v) * (float)out->max_value + 0.5f);
        }
}

static void place(canvas *c, phantom_rng *rng)
{
    static const int sizes[][2] = {{320, 320}, {320, 320}, {304, 352}, {352, 304}};
    uint32_t pick = phantom_rng_below(rng, 4);
    c->width = sizes[pick][0];
    c->height = sizes[pick][1];
    int shorter = c->width < c->height ? c->width : c->height;
    c->scale = (float)shorter * 0.5f * phantom_rng_between(rng, 0.94f, 1.02f);
    c->centre_x = (float)c->width * 0.5f + phantom_rng_between(rng, -8.0f, 8.0f);
    c->centre_y = (float)c->height * 0.5f + phantom_rng_between(rng, -8.0f, 8.0f);
    c->sine = phantom_rng_between(rng, -0.07f, 0.07f); /* four degrees */
    c->cosine = sqrtf(1.0f - c->sine * c->sine);
}

static void draw_all(canvas *c, const phantom_case *facts, phantom_rng *rng, phantom_image *out)
{
    anatomy a = anatomy_of(facts, rng);
    shade(c, &a, facts);
    draw_vessels(c, &a, facts, rng);
    draw_consolidation(c, facts, rng);
    draw_nodule(c, facts, rng);
    draw_shoulders(c, facts, rng);
    draw_tube(c, facts, rng);
    draw_line(c, facts, rng);
    draw_pacemaker(c, facts, rng);
    draw_marker(c, facts);
    phantom_rng noise = phantom_rng_open(facts->seed, STREAM_NOISE);
    expose(c, &a, &noise, out);
}

base_status phantom_case_draw(const phantom_case *facts, phantom_image *out)
{
    phantom_rng rng = phantom_rng_open(facts->seed, STREAM_ANATOMY);
    canvas c;
    place(&c, &rng);
    size_t n = (size_t)c.width * (size_t)c.height;
    phantom_image image = {.pixels = malloc(n * sizeof *image.pixels),
                           .labels = calloc(n, sizeof *image.labels),
                           .width = (uint32_t)c.width,
                           .height = (uint32_t)c.height,
                           .max_value = phantom_rng_below(&rng, 2) == 0 ? 255 : 4095};
    c.value = malloc(n * sizeof *c.value);
    c.coverage = calloc(n, sizeof *c.coverage);
    c.labels = image.labels;
    bool complete = image.pixels != NULL && image.labels != NULL && c.value != NULL && c.coverage != NULL;
    if (complete)
        draw_all(&c, facts, &rng, &image);
    free(c.value);
    free(c.coverage);
    if (!complete) {
        phantom_image_release(&image);
        return BASE_ENOMEM;
    }
    *out = image;
    return BASE_OK;
}

void phantom_image_release(phantom_image *image)
{
    free(image->pixels);
    free(image->labels);
    *image = (phantom_image){0};
}

static uint32_t rescale(uint32_t value, uint32_t from, uint32_t to)
{
    return (value * to + from / 2) / from;
}

void phantom_image_to_u8(const phantom_image *image, uint8_t *out)
{
    size_t n = (size_t)image->width * image->height;
    for (size_t i = 0; i < n; ++i)
        out[i] = (uint8_t)rescale(image->pixels[i], image->max_value, 255);
}

void phantom_image_to_u16(const phantom_image *image, uint16_t *out)
{
    size_t n = (size_t)image->width * image->height;
    for (size_t i = 0; i < n; ++i)
        out[i] = (uint16_t)rescale(image->pixels[i], image->max_value, 65535);
}

void phantom_image_patch_labels(const phantom_image *image, uint32_t grid, uint32_t *out)
{
    uint32_t longer = image->width > image->height ? image->width : image->height;
    uint32_t left = (longer - image->width) / 2, top = (longer - image->height) / 2;
    uint32_t enough = longer / grid * (longer / grid) / 25;
    for (uint32_t gy = 0; gy < grid; ++gy)
        for (uint32_t gx = 0; gx < grid; ++gx) {
            uint32_t count[PHANTOM_N_LABELS] = {0}, set = 0;
            for (uint32_t y = gy * longer / grid; y < (gy + 1) * longer / grid; ++y)
                for (uint32_t x = gx * longer / grid; x < (gx + 1) * longer / grid; ++x) {
                    if (y < top || x < left || y - top >= image->height || x - left >= image->width)
                        continue;
                    uint32_t here = image->labels[(y - top) * image->width + x - left];
                    for (uint32_t bit = 0; here != 0; ++bit, here >>= 1)
                        count[bit] += here & 1u;
                }
            for (uint32_t bit = 0; bit < PHANTOM_N_LABELS; ++bit)
                set |= count[bit] > enough ? 1u << bit : 0u;
            out[gy * grid + gx] = set;
        }
}

#include "tools/phantom/phantom.h"

#include <string.h>

enum { STREAM_FACTS = 1 };

uint64_t phantom_seed(phantom_namespace space, uint64_t index)
{
    return ((uint64_t)space << 56) | (index & 0x00ffffffffffffffULL);
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

phantom_rng phantom_rng_open(uint64_t seed, uint64_t stream)
{
    return (phantom_rng){.state = mix(seed + 0x9e3779b97f4a7c15ULL) ^ mix(~stream)};
}

uint64_t phantom_rng_next(phantom_rng *rng)
{
    rng->state += 0x9e3779b97f4a7c15ULL;
    return mix(rng->state);
}

uint32_t phantom_rng_below(phantom_rng *rng, uint32_t n)
{
    return (uint32_t)(((phantom_rng_next(rng) >> 32) * n) >> 32);
}

float phantom_rng_between(phantom_rng *rng, float low, float high)
{
    float unit = (float)(phantom_rng_next(rng) >> 40) * (1.0f / 16777216.0f);
    return low + (high - low) * unit;
}

static bool percent(phantom_rng *rng, uint32_t chance)
{
    return phantom_rng_below(rng, 100) < chance;
}

static uint8_t any_side(phantom_rng *rng)
{
    return percent(rng, 50) ? PHANTOM_RIGHT : PHANTOM_LEFT;
}

static uint8_t other_side(uint8_t side)
{
    return side == PHANTOM_RIGHT ? PHANTOM_LEFT : PHANTOM_RIGHT;
}

static uint8_t small_or_large(phantom_rng *rng)
{
    return percent(rng, 50) ? PHANTOM_SMALL : PHANTOM_LARGE;
}

static void draw_devices(phantom_case *facts, phantom_rng *rng)
{
    facts->tube = percent(rng, 20);
    if (percent(rng, 25))
        facts->line = any_side(rng);
    if (percent(rng, 18))
        facts->pacemaker = percent(rng, 70) ? PHANTOM_LEFT : PHANTOM_RIGHT;
}

static void draw_pleura(phantom_case *facts, phantom_rng *rng)
{
    if (percent(rng, 38)) {
        uint32_t which = phantom_rng_below(rng, 4); /* right, left, left, both: the left one hides behind the heart */
        if (which == 0 || which == 3)
            facts->effusion_right = (uint8_t)(PHANTOM_SMALL + phantom_rng_below(rng, 3));
        if (which != 0)
            facts->effusion_left = (uint8_t)(PHANTOM_SMALL + phantom_rng_below(rng, 3));
    }
    if (percent(rng, 22)) {
        facts->pneumothorax = any_side(rng);
        facts->pneumothorax_size = small_or_large(rng);
    }
}

/* The lowest zone of a side that neither an effusion nor a large heart (which lies to the left) hides; -1 for none. */
static int lowest_free_zone(const phantom_case *facts, uint8_t side)
{
    uint8_t hidden = side == PHANTOM_RIGHT ? facts->effusion_right : facts->effusion_left;
    if (side == PHANTOM_LEFT && facts->heart > hidden)
        hidden = facts->heart == PHANTOM_LARGE ? PHANTOM_MODERATE : PHANTOM_SMALL;
    switch (hidden) {
    case PHANTOM_NONE:
        return PHANTOM_LOWER;
    case PHANTOM_SMALL:
        return PHANTOM_MIDDLE;
    case PHANTOM_MODERATE:
        return PHANTOM_UPPER;
    default:
        return -1;
    }
}

/* A place for a lung finding that nothing else hides: not in the lung with the pneumothorax, not under an effusion. */
static bool place_in_lung(const phantom_case *facts, phantom_rng *rng, uint8_t *side, uint8_t *zone)
{
    *side = any_side(rng);
    if (facts->pneumothorax == *side)
        *side = other_side(*side);
    int lowest = lowest_free_zone(facts, *side);
    *zone = (uint8_t)phantom_rng_below(rng, (uint32_t)lowest + 1u + (lowest < 0));
    return lowest >= 0;
}

static void draw_lungs(phantom_case *facts, phantom_rng *rng)
{
    uint8_t side, zone;
    if (percent(rng, 34) && place_in_lung(facts, rng, &side, &zone)) {
        facts->consolidation = side;
        facts->consolidation_zone = zone;
    }
    bool wanted = percent(rng, 36);
    uint8_t size = small_or_large(rng);
    bool placed = place_in_lung(facts, rng, &side, &zone);
    bool covered = facts->consolidation == side && facts->consolidation_zone == zone;
    if (wanted && placed && !covered) {
        facts->nodule = side;
        facts->nodule_zone = zone;
        facts->nodule_size = size;
    }
}

void phantom_case_init(phantom_case *facts, uint64_t seed)
{
    phantom_rng rng = phantom_rng_open(seed, STREAM_FACTS);
    memset(facts, 0, sizeof *facts);
    facts->seed = seed;
    facts->view = percent(&rng, 55) ? PHANTOM_PA : PHANTOM_AP;
    facts->indication = (uint8_t)phantom_rng_below(&rng, 8);
    if (percent(&rng, 10))
        return; /* a normal study */
    draw_devices(facts, &rng);
    draw_pleura(facts, &rng);
    if (percent(&rng, 30))
        facts->heart = small_or_large(&rng);
    draw_lungs(facts, &rng);
    if (percent(&rng, 22))
        facts->fracture = any_side(&rng);
}

const char *phantom_label_text(uint32_t label)
{
    static const char *const texts[PHANTOM_N_LABELS] = {
#define X(name, text) text,
        PHANTOM_LABEL_LIST(X)
#undef X
    };
    return label < PHANTOM_N_LABELS ? texts[label] : NULL;
}

static uint32_t sided(uint8_t side, phantom_label right)
{
    return side == PHANTOM_NO_SIDE ? 0u : 1u << (right + (side == PHANTOM_LEFT ? 1u : 0u));
}

uint32_t phantom_case_labels(const phantom_case *facts)
{
    uint32_t set = 0;
    if (facts->tube)
        set |= 1u << PHANTOM_TUBE;
    if (facts->effusion_right)
        set |= 1u << PHANTOM_EFFUSION_RIGHT;
    if (facts->effusion_left)
        set |= 1u << PHANTOM_EFFUSION_LEFT;
    if (facts->heart)
        set |= 1u << PHANTOM_CARDIOMEGALY;
    return set | sided(facts->line, PHANTOM_LINE_RIGHT) | sided(facts->pacemaker, PHANTOM_PACEMAKER_RIGHT) |
           sided(facts->consolidation, PHANTOM_CONSOLIDATION_RIGHT) | sided(facts->nodule, PHANTOM_NODULE_RIGHT) |
           sided(facts->pneumothorax, PHANTOM_PNEUMOTHORAX_RIGHT) | sided(facts->fracture, PHANTOM_FRACTURE_RIGHT);
}

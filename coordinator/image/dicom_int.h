/* dicom_int.h - what the files of the DICOM reader share.
 *
 *     file bytes --dicom_read.c-----> dicom_file: where the few attributes that matter are, and the pixel data
 *                                     (dicom_syntax.c: how they are encoded)
 *                --dicom_geometry.c-> dicom_geometry: sizes and kinds, each checked
 *                --dicom_frame.c----> one frame as raw samples (dicom_rle.c, dicom_jpeg*.c: the codecs)
 *                --dicom_voi.c------> 8 bits (dicom_colour.c: palettes, RGB, YBR)
 *                --dicom_study.c----> warnings about modality, body part, view, loss
 *
 * The parser is our own: GDCM's, as Debian builds it, ends the process by an assertion on damaged files
 * (docs/decisions/0007-own-dicom-reader.md).  The codecs are those that GDCM calls, called directly: its libjpegs for
 * lossless and 12-bit streams, CharLS, OpenJPEG.
 *
 * Kept are only the attributes of the table below, none of which describes a person, and the one that a caller names
 * (dicom_text.h).  No value of a text goes into an error: a header may hold names in any field. */
#ifndef PALMGROVE_DICOM_INT_H
#define PALMGROVE_DICOM_INT_H

#include <stdbool.h>

#include "coordinator/image/image_int.h"
#include "proto/base/buf.h"

/*  field                   group element scopes             name in errors */
#define DICOM_FIELDS(X)                                                                                 \
    X(DICOM_CHARACTERS, 0008, 0005, DICOM_DATA_SET, "SpecificCharacterSet")                             \
    X(DICOM_MODALITY_NAME, 0008, 0060, DICOM_DATA_SET, "Modality")                                      \
    X(DICOM_BODY_PART, 0018, 0015, DICOM_DATA_SET, "BodyPartExamined")                                  \
    X(DICOM_IMAGER_SPACING, 0018, 1164, DICOM_DATA_SET, "ImagerPixelSpacing")                           \
    X(DICOM_VIEW, 0018, 5101, DICOM_DATA_SET, "ViewPosition")                                           \
    X(DICOM_SAMPLES, 0028, 0002, DICOM_DATA_SET, "SamplesPerPixel")                                     \
    X(DICOM_PHOTOMETRIC, 0028, 0004, DICOM_DATA_SET, "PhotometricInterpretation")                       \
    X(DICOM_PLANAR, 0028, 0006, DICOM_DATA_SET, "PlanarConfiguration")                                  \
    X(DICOM_FRAMES, 0028, 0008, DICOM_DATA_SET, "NumberOfFrames")                                       \
    X(DICOM_ROWS, 0028, 0010, DICOM_DATA_SET, "Rows")                                                   \
    X(DICOM_COLUMNS, 0028, 0011, DICOM_DATA_SET, "Columns")                                             \
    X(DICOM_SPACING, 0028, 0030, DICOM_DATA_SET | DICOM_OF_FRAME, "PixelSpacing")                       \
    X(DICOM_ASPECT, 0028, 0034, DICOM_DATA_SET, "PixelAspectRatio")                                     \
    X(DICOM_ALLOCATED, 0028, 0100, DICOM_DATA_SET, "BitsAllocated")                                     \
    X(DICOM_STORED, 0028, 0101, DICOM_DATA_SET, "BitsStored")                                           \
    X(DICOM_HIGH, 0028, 0102, DICOM_DATA_SET, "HighBit")                                                \
    X(DICOM_SIGNED, 0028, 0103, DICOM_DATA_SET, "PixelRepresentation")                                  \
    X(DICOM_PADDING, 0028, 0120, DICOM_DATA_SET, "PixelPaddingValue")                                   \
    X(DICOM_PADDING_LIMIT, 0028, 0121, DICOM_DATA_SET, "PixelPaddingRangeLimit")                        \
    X(DICOM_ANNOTATION, 0028, 0301, DICOM_DATA_SET, "BurnedInAnnotation")                               \
    X(DICOM_CENTER, 0028, 1050, DICOM_DATA_SET | DICOM_OF_FRAME, "WindowCenter")                        \
    X(DICOM_WIDTH, 0028, 1051, DICOM_DATA_SET | DICOM_OF_FRAME, "WindowWidth")                          \
    X(DICOM_INTERCEPT, 0028, 1052, DICOM_DATA_SET | DICOM_OF_FRAME, "RescaleIntercept")                 \
    X(DICOM_SLOPE, 0028, 1053, DICOM_DATA_SET | DICOM_OF_FRAME, "RescaleSlope")                         \
    X(DICOM_VOI_FUNCTION, 0028, 1056, DICOM_DATA_SET | DICOM_OF_FRAME, "VOILUTFunction")                \
    X(DICOM_RED_DESCRIPTOR, 0028, 1101, DICOM_DATA_SET, "RedPaletteColorLookupTableDescriptor")         \
    X(DICOM_GREEN_DESCRIPTOR, 0028, 1102, DICOM_DATA_SET, "GreenPaletteColorLookupTableDescriptor")     \
    X(DICOM_BLUE_DESCRIPTOR, 0028, 1103, DICOM_DATA_SET, "BluePaletteColorLookupTableDescriptor")       \
    X(DICOM_RED, 0028, 1201, DICOM_DATA_SET, "RedPaletteColorLookupTableData")                          \
    X(DICOM_GREEN, 0028, 1202, DICOM_DATA_SET, "GreenPaletteColorLookupTableData")                      \
    X(DICOM_BLUE, 0028, 1203, DICOM_DATA_SET, "BluePaletteColorLookupTableData")                        \
    X(DICOM_LOSSY, 0028, 2110, DICOM_DATA_SET, "LossyImageCompression")                                 \
    X(DICOM_LOSSY_RATIO, 0028, 2112, DICOM_DATA_SET, "LossyImageCompressionRatio")                      \
    X(DICOM_MODALITY_DESCRIPTOR, 0028, 3002, DICOM_OF_MODALITY, "LUTDescriptor of ModalityLUTSequence") \
    X(DICOM_MODALITY, 0028, 3006, DICOM_OF_MODALITY, "LUTData of ModalityLUTSequence")                  \
    X(DICOM_VOI_DESCRIPTOR, 0028, 3002, DICOM_OF_VOI, "LUTDescriptor of VOILUTSequence")                \
    X(DICOM_VOI, 0028, 3006, DICOM_OF_VOI, "LUTData of VOILUTSequence")                                 \
    X(DICOM_PRESENTATION_SHAPE, 2050, 0020, DICOM_DATA_SET, "PresentationLUTShape")                     \
    X(DICOM_CUT_CREATOR, 7FDF, 0010, DICOM_DATA_SET, "private creator")                                 \
    X(DICOM_CUT_FRAMES, 7FDF, 1001, DICOM_DATA_SET, "frames before the cut")                            \
    X(DICOM_FLOAT_PIXELS, 7FE0, 0008, DICOM_DATA_SET, "FloatPixelData")                                 \
    X(DICOM_DOUBLE_PIXELS, 7FE0, 0009, DICOM_DATA_SET, "DoubleFloatPixelData")                          \
    X(DICOM_PIXELS, 7FE0, 0010, DICOM_DATA_SET, "PixelData")

#define DICOM_ITEM             0xFFFEE000u
#define DICOM_ITEM_END         0xFFFEE00Du
#define DICOM_SEQUENCE_END     0xFFFEE0DDu
#define DICOM_PER_FRAME_GROUPS 0x52009230u
#define DICOM_PIXEL_DATA       0x7FE00010u

typedef enum dicom_field {
#define X(field, group, element, scopes, name) field,
    DICOM_FIELDS(X)
#undef X
        DICOM_N_FIELDS
} dicom_field;

/* What a data set is: the file's own, or an item of a sequence. */
typedef enum dicom_scope {
    DICOM_IGNORED = 0,
    DICOM_DATA_SET = 1,
    DICOM_OF_MODALITY = 2,       /* the first item of ModalityLUTSequence */
    DICOM_OF_VOI = 4,            /* the first item of VOILUTSequence */
    DICOM_FUNCTIONAL_GROUPS = 8, /* functional groups that hold for the wanted frame */
    DICOM_OF_FRAME = 16          /* the first item of a sequence of these groups */
} dicom_scope;

typedef enum dicom_coding { DICOM_NATIVE, DICOM_RLE, DICOM_JPEG, DICOM_JPEGLS, DICOM_JPEG2000 } dicom_coding;

/* Borrowed bytes; `at` NULL: absent. */
typedef struct dicom_bytes {
    const uint8_t *at;
    size_t size;
} dicom_bytes;

/* An element that a caller asks for by its tag, of the file's own data set. */
typedef struct dicom_query {
    uint32_t tag;
    bool is_sequence; /* there, but of a length that only items have */
    char vr[2];       /* {0} in implicit */
    dicom_bytes value;
} dicom_query;

typedef struct dicom_file {
    dicom_bytes values[DICOM_N_FIELDS]; /* of the file's bytes, or of `inflated` */
    base_buf inflated;                  /* the data set of a deflated file; owned */
    dicom_coding coding;
    bool is_explicit, is_big_endian, is_deflated;
    bool is_lossy;            /* the transfer syntax always is */
    bool has_fragments;       /* PixelData is a sequence of items */
    bool has_words;           /* PixelData is OW: its bytes come in words of the file's byte order */
    const uint8_t *pixels_at; /* the first element of group 7FE0: pixel data, or offsets into them */
    dicom_bytes pixels_head;  /* PixelData's tag, VR and length */
    dicom_bytes per_frame;    /* PerFrameFunctionalGroupsSequence, from its tag on */
    dicom_bytes frame_item;   /* and its item for the wanted frame */
    image_warnings *warnings; /* may be NULL; borrowed */
    dicom_query *query;       /* set before dicom_file_read; NULL: nothing; borrowed */
} dicom_file;

/* Find the attributes; `frame` (from 0) picks the functional groups.  `file` is {0} but for `query` before;
 * dicom_file_release it, on errors too; it borrows `bytes`.  Errors: BASE_EUNSUPPORTED a transfer syntax that is not
 * read; BASE_EFORMAT truncated or damaged; BASE_ETOOBIG a deflated file beyond `max_inflated` bytes; BASE_ENOMEM.
 * Format: DICOM PS3.5 section 7, PS3.10 section 7. */
base_status dicom_file_read(dicom_file *file, const uint8_t *bytes, size_t size, uint32_t frame, size_t max_inflated,
                            base_error *error);
/* Free what was inflated; the file is {0} afterwards. */
void dicom_file_release(dicom_file *file);

/* Set coding and encoding to those of the transfer syntax whose UID is `uid`.  Errors: BASE_EFORMAT no UID;
 * BASE_EUNSUPPORTED a syntax that is not read. */
base_status dicom_syntax_set(dicom_file *file, dicom_bytes uid, base_error *error);

/* For a file that names no syntax: native pixels, encoded as the data set's first element shows. */
void dicom_syntax_guess(dicom_file *file, dicom_bytes data);

/* Correct the encoding, with a warning, where the data set is written otherwise than its syntax says.  Compressed files
 * are known to mix explicit and implicit elements: there each element is looked at by itself. */
void dicom_syntax_check(dicom_file *file, dicom_bytes data);

/* The i-th 16-bit word of a value, in the file's byte order; false beyond its end. */
bool dicom_word(const dicom_file *file, dicom_field field, size_t i, uint16_t *out);

/* The i-th of the decimals in a text ("40\80").  *is_given is false, and *out untouched, where there is none or it is
 * empty.  Errors: BASE_EFORMAT a text that is not a finite decimal: a comma for the decimal sign may as well separate
 * thousands, so it is not read as either. */
base_status dicom_decimal(const dicom_file *file, dicom_field field, unsigned i, double *out, bool *is_given,
                          base_error *error);

/* Is the text this one, blanks around it aside? */
bool dicom_text_equals(const dicom_file *file, dicom_field field, const char *text);

/* "Rows (0028,0010)": for errors; static. */
const char *dicom_field_name(dicom_field field);

typedef enum dicom_colours {
    DICOM_GREY,
    DICOM_GREY_INVERTED,
    DICOM_PALETTE,
    DICOM_RGB,
    DICOM_YBR,
    DICOM_YBR_422
} dicom_colours;

typedef struct dicom_geometry {
    uint32_t rows, columns, samples, frames;
    uint32_t bits_allocated; /* 8 or 16 */
    uint32_t bits_stored, high_bit;
    bool is_signed, is_planar;
    dicom_colours colours;
    uint32_t width, height; /* with square pixels */
} dicom_geometry;

/* What the pixels are, read and checked.  Errors: BASE_EUNSUPPORTED kinds that are not read; BASE_EINVAL `frame` is
 * beyond the file's; BASE_ETOOBIG; BASE_EFORMAT something missing or contradictory. */
base_status dicom_geometry_read(const dicom_file *file, uint32_t frame, uint64_t max_pixels, dicom_geometry *out,
                                base_error *error);

/* What a codec fills: [rows][columns][samples].  The sizes are set before; a stream of other sizes is refused before
 * memory is allocated. */
typedef struct dicom_raster {
    uint32_t rows, columns, samples;
    uint16_t *out;
    uint32_t bits;                     /* out: sample bits, from the lowest on */
    bool stream_is_rgb, stream_is_ybr; /* out: what a JPEG or JPEG 2000 stream itself says of its three components */
} dicom_raster;

/* Read frame `frame` of checked geometry into `raster` (out: room for rows x columns x samples). */
base_status dicom_frame_read(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                             dicom_raster *raster, base_error *error);

/* Where the frame's bytes are: of native pixels, in whole words of big-endian files, or its fragments with their heads.
 * Errors: BASE_EFORMAT; BASE_EUNSUPPORTED the frame begins within a word. */
base_status dicom_frame_locate(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame, dicom_bytes *out,
                               base_error *error);

/* One stream each.  Errors: BASE_EFORMAT truncated, damaged, other sizes than the header's; BASE_EUNSUPPORTED kinds
 * that DICOM does not know; BASE_ENOMEM. */
base_status dicom_decode_rle(dicom_bytes stream, uint32_t bytes_per_sample, dicom_raster *raster, base_error *error);
base_status dicom_decode_jpeg(dicom_bytes stream, dicom_raster *raster, base_error *error);
base_status dicom_decode_jpeg8(dicom_bytes stream, dicom_raster *raster, base_error *error);
base_status dicom_decode_jpeg12(dicom_bytes stream, dicom_raster *raster, base_error *error);
base_status dicom_decode_jpeg16(dicom_bytes stream, dicom_raster *raster, base_error *error);
base_status dicom_decode_jpegls(dicom_bytes stream, dicom_raster *raster, base_error *error);
base_status dicom_decode_jpeg2000(dicom_bytes stream, dicom_raster *raster, base_error *error);

/* True if the marker segments of a JPEG 2000 codestream ask for no more bookkeeping than its pixels warrant: precincts
 * and code blocks may be as small as a pixel, and each costs a decoder hundreds of bytes.  False also for a stream
 * whose markers cannot be followed.  ISO 15444-1 annex A. */
bool dicom_jpeg2000_is_bounded(dicom_bytes stream, const dicom_raster *raster);

/* True if the codestream's components go through JPEG 2000's own colour transform, which its decoder undoes: they are
 * RGB then, whatever the header says.  `stream` is bounded. */
bool dicom_jpeg2000_has_colour_transform(dicom_bytes stream);

/* Who wrote the private elements of group 7FDF: a file that was cut (dicom_cut.c). */
#define DICOM_CREATOR "PALMGROVE"

/* Warnings about what was imaged, and how it was kept; `expected` may be NULL. */
void dicom_warn_of_study(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                         const image_expected *expected);

/* --- samples to 8 bits --- */

enum { DICOM_N_LEVELS = 65536 };

/* A table of the file, read entry by entry. */
typedef struct dicom_lut {
    const dicom_file *file; /* borrowed */
    dicom_field data;
    uint32_t n_entries;
    int32_t first;    /* the input of entry 0 */
    double max_value; /* of an entry: 2^bits - 1 */
    bool is_bytes;
} dicom_lut;

/* The table that `descriptor` (DICOM_..._DESCRIPTOR) describes; `is_signed`: its inputs may be negative.
 * Errors: BASE_EFORMAT missing or damaged; BASE_EUNSUPPORTED segmented. */
base_status dicom_lut_open(const dicom_file *file, dicom_field descriptor, bool is_signed, dicom_lut *out,
                           base_error *error);
double dicom_lut_value(const dicom_lut *lut, double input);

/* How many bits of a raster's samples count: a stream may hold fewer than the header says, or more. */
uint32_t dicom_sample_bits(const dicom_geometry *geometry, const dicom_raster *raster);

/* `raw`, of `bits` bits, as a number: two's complement where `is_signed`. */
int32_t dicom_sample_value(uint32_t raw, uint32_t bits, bool is_signed);

/* round(255 value), clamped; a NaN is 0. */
uint8_t dicom_to_byte(double value);

/* Raw samples to 8 bits, by kind of colours: `out` has the raster's sizes, one channel for greys, three
 * else.  Errors: BASE_EFORMAT, BASE_EUNSUPPORTED those of the file's tables and windows; `out` undefined. */
base_status dicom_voi(const dicom_file *file, const dicom_geometry *geometry, const dicom_raster *raster, image *out,
                      base_error *error);
base_status dicom_palette(const dicom_file *file, const dicom_geometry *geometry, const dicom_raster *raster,
                          image *out, base_error *error);
void dicom_colour(const dicom_geometry *geometry, const dicom_raster *raster, image *out);

#endif

/* dicom_jpeg16.c - JPEG streams of DICOM by GDCM's libjpeg for samples of 16 bits. */
#include <stddef.h>
#include <stdio.h>

#include <gdcm-3.0/gdcmjpeg/16/jpeglib.h>

#define DICOM_JPEG_DECODE dicom_decode_jpeg16
#include "coordinator/image/dicom_jpeg_tpl.h"

/* fake_checkpoint.h - a model directory without weights: config.json, tokenizer.model, exemplars.json, enough for a
 * coordinator. The tokenizer knows bytes only: the id of byte c is FAKE_FIRST_CHAR + c (fake_model.h), so token counts
 * are byte counts. */
#ifndef PALMGROVE_TESTS_FAKE_CHECKPOINT_H
#define PALMGROVE_TESTS_FAKE_CHECKPOINT_H

/* Write the three files into the existing directory `dir`; aborts the test when it cannot. */
void fake_checkpoint_write(const char *dir);

#endif

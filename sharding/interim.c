#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "sharding/shards/shard_set.h"
#include "sharding/recipe.h"
#include "sharding/checkpoint.h"
__attribute__((weak)) base_status shard_set_open(const char *d, shard_set **o, base_error *e){(void)d;(void)o;return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) void shard_set_close(shard_set **s){(void)s;}
__attribute__((weak)) const arch *shard_set_arch(const shard_set *s){(void)s;return 0;}
__attribute__((weak)) void shard_set_layout(const shard_set *s, uint32_t *a, uint32_t *b){(void)s;(void)a;(void)b;}
__attribute__((weak)) void shard_set_digest(const shard_set *s, char o[65]){(void)s;(void)o;}
__attribute__((weak)) base_status shard_rank_file_open(const shard_set *set, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage, shard_rank_file **out, base_error *e){return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) void shard_rank_file_close(shard_rank_file **f){}
__attribute__((weak)) base_status shard_rank_file_matrix(const shard_rank_file *file, const shard_slice *slice, pack_matrix *out, base_error *e){return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) base_status shard_rank_file_vector(const shard_rank_file *file, const shard_slice *slice, float **out, base_error *e){return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) base_status shard_rank_file_load(shard_rank_file *file, void (*progress)(void *context, uint64_t done, uint64_t total), void *context, base_error *e){return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) uint64_t shard_rank_file_bytes(const shard_rank_file *file){return 0;}
__attribute__((weak)) base_status synthetic_open(const char *spec, arch *a, shard_source **source, base_error *e){return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) void synthetic_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out){}
__attribute__((weak)) pack_type shard_recipe_type(const shard_recipe *r, const arch *a, const shard_slice *s, shard_type from){
 switch(r->kind){case RECIPE_F32:return PACK_F32;case RECIPE_F16:return PACK_F16;case RECIPE_BF16:return PACK_BF16;case RECIPE_INT8:return PACK_INT8;case RECIPE_INT4:return PACK_INT4;
 default: return from==SHARD_F32?PACK_F32:from==SHARD_BF16?PACK_BF16:from==SHARD_Q8_0?PACK_INT8:from==SHARD_Q4_0?PACK_INT4:PACK_F16;}}
__attribute__((weak)) base_status shard_importance_open(const char *p, const arch *a, shard_importance **o, base_error *e){return base_fail(e,BASE_EIO,"stub");}
__attribute__((weak)) void shard_importance_close(shard_importance **i){}
__attribute__((weak)) const float *shard_importance_of(const shard_importance *i, const shard_slice *s){return 0;}

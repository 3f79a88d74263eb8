mod caches;
mod prediction;

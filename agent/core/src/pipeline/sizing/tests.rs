mod caches;
mod prediction;
mod verdict;
mod world;

-- Run once by the postgres image of compose.yaml: a database per service, because services share none.
CREATE DATABASE registry;
CREATE DATABASE monitor;
CREATE DATABASE trainer;

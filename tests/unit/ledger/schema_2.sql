CREATE TABLE deliveries (
	delivery_id VARCHAR NOT NULL,
	sop_instance_uid VARCHAR NOT NULL,
	job_id VARCHAR NOT NULL,
	destination VARCHAR NOT NULL,
	kind VARCHAR NOT NULL,
	path TEXT NOT NULL,
	state VARCHAR NOT NULL,
	attempt INTEGER NOT NULL,
	attempts_since_retry INTEGER NOT NULL,
	next_try_at FLOAT,
	created_at FLOAT NOT NULL,
	delivered_at FLOAT,
	answer TEXT,
	error TEXT,
	PRIMARY KEY (delivery_id)
);
CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
CREATE INDEX ix_deliveries_state ON deliveries (state);
CREATE TABLE events (
	id INTEGER NOT NULL,
	at FLOAT NOT NULL,
	study_instance_uid VARCHAR NOT NULL,
	job_id VARCHAR,
	stage VARCHAR NOT NULL,
	event TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX ix_events_study_instance_uid ON events (study_instance_uid);
CREATE TABLE instances (
	id INTEGER NOT NULL,
	study_instance_uid VARCHAR NOT NULL,
	generation INTEGER NOT NULL,
	series_instance_uid VARCHAR NOT NULL,
	sop_instance_uid VARCHAR NOT NULL,
	sop_class_uid VARCHAR NOT NULL,
	transfer_syntax_uid VARCHAR NOT NULL,
	calling_ae_title VARCHAR NOT NULL,
	called_ae_title VARCHAR NOT NULL,
	received_at FLOAT NOT NULL,
	path TEXT NOT NULL,
	sha256 VARCHAR NOT NULL,
	size_bytes INTEGER NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (study_instance_uid, sop_instance_uid, sha256)
);
CREATE TABLE jobs (
	job_id VARCHAR NOT NULL,
	study_instance_uid VARCHAR NOT NULL,
	generation INTEGER NOT NULL,
	series_instance_uid VARCHAR NOT NULL,
	rule VARCHAR NOT NULL,
	model VARCHAR NOT NULL,
	destinations TEXT NOT NULL,
	priority INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	attempts_since_retry INTEGER NOT NULL,
	next_try_at FLOAT,
	state VARCHAR NOT NULL,
	stage VARCHAR NOT NULL,
	progress FLOAT NOT NULL,
	cancel_requested BOOLEAN NOT NULL,
	created_at FLOAT NOT NULL,
	started_at FLOAT,
	finished_at FLOAT,
	outcome TEXT,
	seconds TEXT,
	error TEXT,
	PRIMARY KEY (job_id)
);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_jobs_study_instance_uid ON jobs (study_instance_uid);
CREATE TABLE properties (
	name VARCHAR NOT NULL,
	value VARCHAR NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE removals (
	removal_id INTEGER NOT NULL,
	study_instance_uid VARCHAR NOT NULL,
	generation INTEGER NOT NULL,
	reason TEXT NOT NULL,
	began_at FLOAT NOT NULL,
	ended_at FLOAT,
	PRIMARY KEY (removal_id)
);
CREATE INDEX ix_removals_study_instance_uid ON removals (study_instance_uid);
CREATE TABLE removed_instances (
	id INTEGER NOT NULL,
	removal_id INTEGER NOT NULL,
	study_instance_uid VARCHAR NOT NULL,
	generation INTEGER NOT NULL,
	series_instance_uid VARCHAR NOT NULL,
	sop_instance_uid VARCHAR NOT NULL,
	sop_class_uid VARCHAR NOT NULL,
	transfer_syntax_uid VARCHAR NOT NULL,
	calling_ae_title VARCHAR NOT NULL,
	called_ae_title VARCHAR NOT NULL,
	received_at FLOAT NOT NULL,
	path TEXT NOT NULL,
	sha256 VARCHAR NOT NULL,
	size_bytes INTEGER NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX ix_removed_instances_removal_id ON removed_instances (removal_id);
CREATE TABLE removed_results (
	sop_instance_uid VARCHAR NOT NULL,
	removal_id INTEGER NOT NULL,
	PRIMARY KEY (sop_instance_uid)
);
CREATE INDEX ix_removed_results_removal_id ON removed_results (removal_id);
CREATE TABLE results (
	sop_instance_uid VARCHAR NOT NULL,
	job_id VARCHAR NOT NULL,
	attempt INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	kind VARCHAR NOT NULL,
	sop_class_uid VARCHAR NOT NULL,
	study_instance_uid VARCHAR NOT NULL,
	source_series_instance_uid VARCHAR NOT NULL,
	series_instance_uid VARCHAR NOT NULL,
	model VARCHAR NOT NULL,
	path TEXT NOT NULL,
	sha256 VARCHAR NOT NULL,
	created_at FLOAT NOT NULL,
	superseded BOOLEAN NOT NULL,
	PRIMARY KEY (sop_instance_uid)
);
CREATE INDEX ix_results_job_id ON results (job_id);
CREATE INDEX results_by_source ON results (source_series_instance_uid, model);
CREATE TABLE studies (
	study_instance_uid VARCHAR NOT NULL,
	generation INTEGER NOT NULL,
	state VARCHAR NOT NULL,
	calling_ae_title VARCHAR NOT NULL,
	first_received_at FLOAT NOT NULL,
	last_received_at FLOAT NOT NULL,
	complete_requested BOOLEAN NOT NULL,
	completed_at FLOAT,
	completion_reason TEXT,
	waited_seconds FLOAT,
	decision TEXT,
	error TEXT,
	PRIMARY KEY (study_instance_uid, generation)
);
CREATE INDEX ix_studies_state ON studies (state);
INSERT INTO properties (name, value) VALUES ('schema_version', '2');

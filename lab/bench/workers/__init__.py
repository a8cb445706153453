"""Our PyWorker beside the vendor's."""

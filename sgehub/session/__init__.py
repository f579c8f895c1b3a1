"""What runs on the execution host inside the job: start the server, report its port."""

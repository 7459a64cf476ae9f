package entry

// ProgramEnv is the environment with which Start would start the process afresh.
var ProgramEnv = (*Builder).environ

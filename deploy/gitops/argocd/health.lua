-- Tells Argo CD the health of a SpotComputeEnvironment. It is Degraded only when a person must act. Waiting for stock or for
-- a price is normal for spot instances, and is Progressing.
local hs = { status = "Progressing", message = "the operator has not looked at this generation yet" }
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions.Ready, conditions.Stalled
if ready ~= nil then
  hs.message = ready.reason .. ": " .. ready.message
end
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
elseif status.phase == "Paused" then
  hs.status = "Suspended"
elseif ready ~= nil and ready.status == "True" then
  hs.status = "Healthy"
end
return hs

-- A series that has been quiet for StableAge goes to wetread. What could not be sent then goes again with the
-- next series. What wetread made comes back as series of other modalities, and stays.
local images = {CR = true, CT = true, DX = true, MR = true}

function OnStableSeries(id, tags, metadata)
    for _, job in ipairs(ParseJson(RestApiGet('/jobs?expand'))) do
        if job['Type'] == 'DicomModalityStore' and job['State'] == 'Failure' then
            RestApiPost('/jobs/' .. job['ID'] .. '/resubmit', '')
        end
    end
    if images[tags['Modality']] then
        local send = {Resources = {id}, Synchronous = false}
        RestApiPost('/modalities/wetread/store', DumpJson(send, true))
    end
end
